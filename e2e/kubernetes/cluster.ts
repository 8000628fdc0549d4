/** The cluster that `npm run test:kubernetes` makes, as its tests call it. */
import { tmpdir } from 'node:os';
import { run } from '../../server/src/platform/command.ts';

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

/** Python that goes on with a sandbox of another program, in which that kept a file, and ends it. */
export const findsKept = (id: string): string => `
sb = modal.Sandbox.from_id("${id}")
print(sb.exec("cat", "/tmp/kept").stdout.read())
sb.terminate()
`;
