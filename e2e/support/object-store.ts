/**
 * A real server of the S3 protocol (versitygw) on another machine, as far as sandboxes can tell. Its buckets are directories of this machine, so tests see what is
 * in them, and put objects there as somebody else would.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { run } from '../../server/src/platform/command.ts';
import { startOtherMachine } from './other-machine.ts';
import { projectRoot } from './server.ts';

export interface ObjectStore extends AsyncDisposable {
  readonly endpoint: string;
  /** The network that it is in, of those that are closed to sandboxes. */
  readonly network: string;
  /** Holds a directory for each bucket. */
  readonly directory: string;
  readonly keys: { readonly AWS_ACCESS_KEY_ID: string; readonly AWS_SECRET_ACCESS_KEY: string };
  /** Has it answer nothing any more, as if the network were cut, and again. */
  freeze(): void;
  thaw(): void;
}

const PORT = 7070;
const program = join(projectRoot, '.skerry/bin/versitygw');

/** Why there can be none; false when there can. As `skip` of a test. */
export const withoutObjectStore = (): string | false =>
  existsSync(program) ? false : 'no S3 server: `npm run test:buckets` builds one';

/** @param buckets their names; one called `public` is everybody's to read */
export async function startObjectStore(buckets: readonly string[]): Promise<ObjectStore> {
  await using undo = new AsyncDisposableStack();
  const scratch = mkdtempSync(join(tmpdir(), 'object-store-'));
  undo.defer(() => rmSync(scratch, { recursive: true, force: true }));
  const directory = join(scratch, 'buckets');
  for (const name of buckets) mkdirSync(join(directory, name), { recursive: true });
  if (buckets.includes('public')) await openToAll(directory, 'public');
  const machine = undo.use(await startOtherMachine());
  const keys = { AWS_ACCESS_KEY_ID: 'test-key', AWS_SECRET_ACCESS_KEY: 'secret-of-the-bucket' };
  const env = {
    PATH: process.env.PATH ?? '',
    ROOT_ACCESS_KEY: keys.AWS_ACCESS_KEY_ID,
    ROOT_SECRET_KEY: keys.AWS_SECRET_ACCESS_KEY,
  };
  const argv = machine.inside([program, '--port', `${machine.address}:${PORT}`, 'posix', directory]);
  const server = spawn(argv[0], argv.slice(1), { env, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = once(server, 'exit');
  undo.defer(async () => {
    server.kill('SIGKILL');
    await ended;
  });
  await listening(server.stdout);
  const all = undo.move();
  return {
    endpoint: `http://${machine.address}:${PORT}`,
    network: `${machine.address}/32`,
    directory,
    keys,
    freeze: () => assert.ok(server.kill('SIGSTOP')),
    thaw: () => assert.ok(server.kill('SIGCONT')),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

/** The server keeps what a bucket allows to whom beside its directory. */
async function openToAll(directory: string, bucket: string): Promise<void> {
  const policy = {
    Version: '2012-10-17',
    Statement: [
      {
        Effect: 'Allow',
        Principal: '*',
        Action: ['s3:GetObject', 's3:ListBucket'],
        Resource: [`arn:aws:s3:::${bucket}`, `arn:aws:s3:::${bucket}/*`],
      },
    ],
  };
  await run(['setfattr', '-n', 'user.policy', '-v', JSON.stringify(policy), join(directory, bucket)]);
}

async function listening(output: NodeJS.ReadableStream): Promise<void> {
  const lines = createInterface({ input: output });
  for await (const line of lines) if (line.includes('http://')) break;
  output.resume();
}
