/** Skerry through its front doors: the official JavaScript client and the REST interface, over the wire, to a server of the bench's own. */
import type { ModalClient, Sandbox } from 'modal';
import { startServer, type TestServer } from '../e2e/support/server.ts';
import { untilWarm } from '../e2e/support/warm-pool.ts';
import { ModboxClient } from '../modbox-sdk/src/index.ts';
import { type Contender, timed } from './contender.ts';
import { benchImage, firstOutput, modalClient } from './modal-client.ts';

const IDLE_LIFE_MS = 6 * 3_600_000;

/** Those whose creates begin from nothing, and those that find a sandbox which waits. */
export const skerryContenders = async (runtime: 'runc' | 'gvisor'): Promise<readonly Contender[]> => [
  ...(await contendersOf(runtime, 'cold')),
  ...(await contendersOf(runtime, 'warm')),
];

/** Those whose creates begin from nothing alone. @param dataDir may hold what a server before has left, its image say */
export const coldContenders = (runtime: 'runc' | 'gvisor', dataDir: string): Promise<readonly Contender[]> =>
  contendersOf(runtime, 'cold', dataDir);

/** Starts a server with one runtime, builds the image, and keeps one sandbox for `exec`: by gRPC and by REST, which share them. */
async function contendersOf(
  runtime: 'runc' | 'gvisor',
  kind: 'cold' | 'warm',
  dataDir?: string,
): Promise<readonly Contender[]> {
  const isWarm = kind === 'warm';
  const server = await startServer({
    ...{ runtime, warmPool: isWarm ? 4 : 0, flags: ['--log-level', 'warn'] },
    ...(dataDir === undefined ? {} : { dataDir }),
  });
  /** The next create finds one. */
  const ready = async () => {
    if (isWarm)
      await untilWarm(server, (kinds) => kinds.every(({ waiting, making }) => waiting > 0 && making === 0));
  };
  let client: ModalClient | undefined;
  try {
    client = modalClient(server);
    const { sandboxes } = client;
    const { app, image } = await benchImage(client);
    // Others are prepared for longer than a sandbox lives by itself.
    const idle: Sandbox = await sandboxes.create(app, image, { timeoutMs: IDLE_LIFE_MS });
    await (await idle.exec(['true'])).wait();
    const opened = client;
    const grpc: Contender = {
      name: isWarm ? `skerry (${runtime}), waiting` : `skerry (${runtime})`,
      createToFirstOutput: async () => {
        let sandbox: Sandbox | undefined;
        await ready();
        const duration = await timed(async () => {
          sandbox = await sandboxes.create(app, image);
          await firstOutput(sandbox);
        });
        await sandbox?.terminate();
        await ready(); // the next one's turn is not beside the making of another
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
    return [
      grpc,
      restContender(`${grpc.name}, REST`, {
        server,
        imageId: image.imageId,
        idleSandboxId: idle.sandboxId,
        ready,
      }),
    ];
  } catch (error) {
    client?.close();
    await server.stop();
    throw error;
  }
}

function restContender(
  name: string,
  {
    server: { url, token },
    imageId,
    idleSandboxId,
    ready,
  }: {
    readonly server: TestServer;
    readonly imageId: string;
    readonly idleSandboxId: string;
    readonly ready: () => Promise<void>;
  },
): Contender {
  const modbox = new ModboxClient({ baseUrl: url, token: `${token.tokenId}:${token.tokenSecret}` });
  const exec = async (sandboxUrl: string, argv: readonly string[]): Promise<string> => {
    const response = await fetch(`${sandboxUrl}/modbox/api/exec`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token.apiKey}`, 'content-type': 'application/json' },
      body: JSON.stringify({ argv }),
    });
    const result = (await response.json()) as { exitCode?: number; stdout?: string };
    if (result.exitCode !== 0) throw new Error(`exec answered ${response.status} ${JSON.stringify(result)}`);
    return result.stdout ?? '';
  };
  let count = 0;
  return {
    name,
    createToFirstOutput: async () => {
      const taskId = `bench-${process.pid}-${count++}`;
      await ready();
      const duration = await timed(async () => {
        await modbox.provisionSandbox({ taskId, imageId });
        const { sandboxUrl } = await modbox.waitForSandbox({ taskId, timeout: 60 });
        const output = await exec(sandboxUrl, ['echo', 'hello']);
        if (!output.startsWith('hello')) throw new Error(`not the output that was expected: ${output}`);
      });
      await modbox.destroySandbox({ taskId });
      await ready();
      return duration;
    },
    execRoundTrip: () => timed(() => exec(`${url}/sandboxes/${idleSandboxId}`, ['true'])),
    close: async () => {}, // the server is the other contender's
  };
}
