/**
 * `node make-base-images.ts DIRECTORY [--all]`: data directories of servers for `giveImages`, `few` with the images that most tests use, and with `--all` also `many`, with those that
 * several files use besides.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { ModboxClient } from '../../modbox-sdk/src/index.ts';
import { runPython } from './clients.ts';
import { announce, conceal, runSkerry } from './command.ts';
import { startServer, type TestServer } from './server.ts';
import { giveImages } from './shared-data.ts';
import { patient } from './slowness.ts';

const [directory, all] = process.argv.slice(2);
if (directory === undefined || (all !== undefined && all !== '--all'))
  throw new Error('usage: make-base-images.ts DIRECTORY [--all]');

const few = ['python:3.11-slim', 'debian:bookworm-slim'];

await make(join(directory, 'few'), (server) => Promise.all(few.map((name) => pull(server, name))));
if (all) {
  // Without registries that other one is of the default image's packages.
  const makeMany = async (server: TestServer) => {
    await useDefault(server);
    await pull(server, 'python:3.12-slim-bookworm');
    await buildDebianSlim(server);
  };
  await make(join(directory, 'many'), makeMany);
}

async function make(dataDir: string, makeImages: (server: TestServer) => Promise<unknown>): Promise<void> {
  mkdirSync(dataDir, { mode: 0o700 });
  await giveImages(dataDir, directory);
  const server = await startServer({ dataDir });
  try {
    announce(server);
    await makeImages(server);
  } finally {
    conceal(server);
    await server.stop();
  }
}

async function pull(server: TestServer, name: string): Promise<void> {
  await runSkerry(server, 'image', 'pull', name);
}

/** What the official client's own image is, which half a dozen files begin with: compilers are installed in it. */
async function buildDebianSlim(server: TestServer): Promise<void> {
  const program = `import modal
app = modal.App.lookup("base", create_if_missing=True)
modal.Image.debian_slim(python_version="3.11").build(app)`;
  const { code, stderr } = await runPython(server, program, { timeoutMs: 600_000 });
  if (code !== 0) throw new Error(stderr);
}

/** Its first use makes the image of sandboxes for which none is named. */
async function useDefault({ url, clientEnv }: TestServer): Promise<void> {
  const modbox = new ModboxClient({ token: clientEnv.MODBOX_API_TOKEN, baseUrl: url });
  const taskId = 'first';
  await modbox.provisionSandbox({ taskId });
  await modbox.waitForSandbox({ taskId, timeout: patient(300) });
  await modbox.destroySandbox({ taskId });
}
