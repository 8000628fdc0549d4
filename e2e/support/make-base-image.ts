/** `node make-base-image.ts DIRECTORY`: a server's data directory that has the base image of most tests, for `giveBaseImage`. */
import { announce, conceal, runSkerry } from './command.ts';
import { startServer } from './server.ts';
import { BASE_IMAGE } from './shared-data.ts';

const [dataDir] = process.argv.slice(2);
if (dataDir === undefined) throw new Error('usage: make-base-image.ts DIRECTORY');
const server = await startServer({ dataDir });
try {
  announce(server);
  await runSkerry(server, 'image', 'pull', BASE_IMAGE);
} finally {
  conceal(server);
  await server.stop();
}
