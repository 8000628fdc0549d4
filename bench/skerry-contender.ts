/** Skerry through its front door: the official JavaScript client, over the wire, to a server of the bench's own. */
import { type App, type Image, ModalClient, type Sandbox } from 'modal';
import { startServer } from '../e2e/support/server.ts';
import { type Contender, timed } from './contender.ts';

/** Starts a server with one runtime, builds the image, and keeps one sandbox for `exec`. */
export async function skerryContender(runtime: 'runc' | 'gvisor'): Promise<Contender> {
  const server = await startServer({ runtime, flags: ['--log-level', 'warn'] });
  let client: ModalClient | undefined;
  try {
    process.env.MODAL_SERVER_URL = server.url; // this client takes its server from nowhere else
    client = new ModalClient({
      tokenId: server.token.tokenId,
      tokenSecret: server.token.tokenSecret,
    });
    const { sandboxes, apps, images } = client;
    const app: App = await apps.fromName('bench', { createIfMissing: true });
    const image: Image = await images.fromRegistry('debian:bookworm-slim').build(app);
    const idle: Sandbox = await sandboxes.create(app, image);
    await (await idle.exec(['true'])).wait();
    const opened = client;
    return {
      name: `skerry (${runtime})`,
      createToFirstOutput: async () => {
        let sandbox: Sandbox | undefined;
        const duration = await timed(async () => {
          sandbox = await sandboxes.create(app, image);
          const process = await sandbox.exec(['echo', 'hello']);
          const { value } = await process.stdout.getReader().read();
          if (!value?.startsWith('hello')) throw new Error(`not the output that was expected: ${value}`);
        });
        await sandbox?.terminate();
        return duration;
      },
      execRoundTrip: () =>
        timed(async () => {
          const code = await (await idle.exec(['true'])).wait();
          if (code !== 0) throw new Error(`true ended with status ${code}`);
        }),
      close: async () => {
        opened.close();
        await server.stop();
      },
    };
  } catch (error) {
    client?.close();
    await server.stop();
    throw error;
  }
}
