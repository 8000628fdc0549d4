/** The cluster that `npm run test:kubernetes` makes, as its tests call it. */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../server/src/platform/command.ts';
import { projectRoot } from '../support/server.ts';

export const {
  SKERRY_TEST_KUBECONFIG: kubeconfig = '',
  /** `ADDRESS:PORT`, of the machine that the cluster is on. */
  SKERRY_TEST_REGISTRY: registry = '',
} = process.env;

/** For programs that call it. */
export const environment = { PATH: process.env.PATH ?? '', HOME: tmpdir(), KUBECONFIG: kubeconfig };

/** @returns what it prints, without white space around it */
export const kubectl = async (...words: string[]): Promise<string> =>
  (await run(['kubectl', ...words], { env: environment, timeoutMs: 300_000 })).stdout.trim();

/** Of a Pod, by its address: `scripts/kubernetes/cluster.sh` gives each node a network of its own. */
export const nodeOf = (address: string): string => `node-${address.split('.')[2]}`;

/** Changes the cluster: the words of `scripts/kubernetes/cluster.sh`. */
export async function cluster(...words: string[]): Promise<void> {
  const { PATH = '', BIN = '', STATE = '', RUNSC = '' } = process.env;
  await run([join(projectRoot, 'scripts/kubernetes/cluster.sh'), ...words], {
    env: { PATH, BIN, STATE, RUNSC },
    timeoutMs: 300_000,
  });
}

/** Rows of a table for docs/kubernetes.md, which `npm run test:kubernetes` gathers. */
export function printTimes(seconds: Readonly<Record<string, readonly number[]>>): void {
  for (const [name, values] of Object.entries(seconds)) {
    const sorted = values.toSorted((a, b) => a - b);
    const row = (of: string, value = Number.NaN) =>
      process.stdout.write(`| ${name}${of} | ${value.toFixed(2)} s |\n`);
    if (sorted.length === 1) row('', sorted[0]);
    else {
      row(`, median of ${sorted.length}`, sorted[Math.floor(sorted.length / 2)]);
      row(`, slowest of ${sorted.length}`, sorted.at(-1));
    }
  }
}

/** Python that goes on with a sandbox of another program, in which that kept a file, and ends it. */
export const findsKept = (id: string): string => `
sb = modal.Sandbox.from_id("${id}")
print(sb.exec("cat", "/tmp/kept").stdout.read())
sb.terminate()
`;
