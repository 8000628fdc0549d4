/** A second node of the cluster for as long as a test has it, and a server beside the cluster with a program that makes sandboxes there. */
import { startDriver } from '../support/driver.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { patient } from '../support/slowness.ts';
import { cluster, kubeconfig, kubectl, registry } from './cluster.ts';

/** Of a machine that has other things to do. */
const MANY_WITHIN_MS = patient(300_000);

export interface TwoNodes extends AsyncDisposable {
  readonly server: TestServer;
  /** Sends a command of driver.py. @returns its answer, the next event */
  ask(command: string, event: string): Promise<Record<string, unknown>>;
  /** Makes so many sandboxes at once. @returns seconds, of each and of all */
  open(count: number): Promise<{ readonly each: readonly number[]; readonly all: number }>;
  /** Ends all. @returns seconds */
  close(): Promise<number>;
}

/** @param flags of the server, beside those that it needs for a cluster */
export async function openTwoNodes(...flags: readonly string[]): Promise<TwoNodes> {
  await cluster('add', '2');
  const server = await startServer({
    flags: [
      ...['--engine', 'kubernetes', '--kubeconfig', kubeconfig, '--registry', `${registry}/skerry`],
      ...['--insecure-registries', registry, '--network-policies', 'enforced'],
      ...flags,
    ],
  });
  const driver = startDriver(server, 'e2e/kubernetes/driver.py');
  await driver.expect('ready');
  const ask = (command: string, event: string) => {
    driver.send(command);
    return driver.expect(event, MANY_WITHIN_MS);
  };
  return {
    server,
    ask,
    open: async (count) =>
      (await ask(`open ${count}`, 'open')) as { readonly each: number[]; readonly all: number }, // of our own program
    close: async () => Number((await ask('close', 'closed')).all),
    [Symbol.asyncDispose]: async () => {
      await driver[Symbol.asyncDispose]();
      await server.stop();
      await cluster('lose', '2');
    },
  };
}

/** The node of each Pod of a sandbox. */
export async function places(): Promise<string[]> {
  const words = ['--selector', 'skerry.dev/instance', '--output', 'jsonpath={.items[*].spec.nodeName}'];
  return (await kubectl('get', 'pods', ...words)).split(' ').filter((name) => name !== '');
}

export const on = (node: string, all: readonly string[]): number =>
  all.filter((each) => each === node).length;
