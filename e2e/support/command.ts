/** The command beside a test's own server: it finds it as if it had started it. */
import { join } from 'node:path';
import { removeServerState, writeServerState } from '../../cli/src/server-state.ts';
import { run } from '../../server/src/platform/command.ts';
import { projectRoot, type TestServer } from './server.ts';
import { patient } from './slowness.ts';

/** Lets the command find the server as it runs now; once more after it was started again. `conceal` it before it is stopped. */
export function announce({ url, pid, dataDir }: TestServer): void {
  const known = { ready: true as const, url, pid, serverPid: pid, instance: '', version: '', flags: [] };
  writeServerState(dataDir, { ...known, startedAt: new Date().toISOString() });
}

export const conceal = ({ dataDir }: TestServer): void => removeServerState(dataDir);

/** How the command's own calls reach it. */
export const accessOf = ({ url, token }: TestServer) => ({
  url,
  token: `${token.tokenId}:${token.tokenSecret}`,
});

export const skerryCommand = (
  { dataDir }: TestServer,
  ...args: readonly string[]
): readonly [string, ...string[]] => [
  process.execPath,
  join(projectRoot, 'cli/bin/skerry.mjs'),
  ...args,
  ...['--data-dir', dataDir],
];

/** Making an image without a registry takes a minute, and several beside everything else. */
const TIMEOUT_MS = patient(600_000);

/** @returns what it prints, without white space around it. @throws when it fails */
export const runSkerry = async (server: TestServer, ...args: readonly string[]): Promise<string> =>
  (await run(skerryCommand(server, ...args), { timeoutMs: TIMEOUT_MS })).stdout.trim();
