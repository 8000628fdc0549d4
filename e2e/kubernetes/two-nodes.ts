/** A second node of the cluster for as long as a test has it, and a server beside the cluster with a program that makes sandboxes there. */
import assert from 'node:assert/strict';
import { REMOVAL_TIMEOUT_MS } from '../../server/src/engines/kubernetes/cluster.ts';
import { LONGEST_PAUSE_MS } from '../../server/src/instances/reaper.ts';
import { delay } from '../../server/src/platform/wait.ts';
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

export interface TwoNodesOptions {
  /** Of the server, beside those that it needs for a cluster. */
  readonly flags?: readonly string[];
  /** Its path in the clone; by default the one that `open` and `close` are commands of. */
  readonly program?: string;
}

export async function openTwoNodes({
  flags = [],
  program = 'e2e/kubernetes/driver.py',
}: TwoNodesOptions = {}): Promise<TwoNodes> {
  await cluster('add', '2');
  const server = await startServer({
    flags: [
      ...['--engine', 'kubernetes', '--kubeconfig', kubeconfig, '--registry', `${registry}/skerry`],
      ...['--insecure-registries', registry, '--network-policies', 'enforced'],
      ...flags,
    ],
  });
  const driver = startDriver(server, program);
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

/** A try to take a Pod away that its node does not let go, and the pause before the next one. */
const STANDSTILL_MS = patient(REMOVAL_TIMEOUT_MS + LONGEST_PAUSE_MS);

/** Nodes that are busy take as long as they take: so it waits while there become fewer. @throws when they do not */
export async function untilNothingIsLeft(): Promise<void> {
  const words = ['--selector', 'skerry.dev/instance', '--output', 'name'];
  const left = async () =>
    (await kubectl('get', 'pods,secrets', ...words)).split('\n').filter((name) => name !== '');
  let before = await left();
  while (before.length > 0) {
    const deadline = AbortSignal.timeout(STANDSTILL_MS);
    let now = await left();
    for (; now.length >= before.length; now = await left()) {
      assert.ok(!deadline.aborted, `these do not go: ${now.join(' ')}`);
      await delay(500);
    }
    before = now;
  }
}

/** The node of each Pod of a sandbox. */
export async function places(): Promise<string[]> {
  const words = ['--selector', 'skerry.dev/instance', '--output', 'jsonpath={.items[*].spec.nodeName}'];
  return (await kubectl('get', 'pods', ...words)).split(' ').filter((name) => name !== '');
}

export const on = (node: string, all: readonly string[]): number =>
  all.filter((each) => each === node).length;
