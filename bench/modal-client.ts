/** The official JavaScript client of a server that the bench has started. */
import { type App, type Image, ModalClient, type Sandbox } from 'modal';

/** The caller closes it. */
export function modalClient(server: {
  readonly url: string;
  readonly token: { readonly tokenId: string; readonly tokenSecret: string };
}): ModalClient {
  process.env.MODAL_SERVER_URL = server.url; // this client takes its server from nowhere else
  const { tokenId, tokenSecret } = server.token;
  return new ModalClient({ tokenId, tokenSecret });
}

/** What the bench makes its sandboxes of. */
export async function benchImage({ apps, images }: ModalClient): Promise<{ app: App; image: Image }> {
  const app = await apps.fromName('bench', { createIfMissing: true });
  return { app, image: await images.fromRegistry('debian:bookworm-slim').build(app) };
}

/** Resolves when the first output of a program in it has come. */
export async function firstOutput(sandbox: Sandbox): Promise<void> {
  const process = await sandbox.exec(['echo', 'hello']);
  const { value } = await process.stdout.getReader().read();
  if (!value?.startsWith('hello')) throw new Error(`not the output that was expected: ${value}`);
}
