/** The files of a sandbox as its end left them, made an image before anything of it is taken away. */
import { mkdir } from 'node:fs/promises';
import { AgentClient } from '../agent/agent-client.ts';
import { commitLast } from '../agent/settle-files.ts';
import type { Instance } from '../engines/engine.ts';
import { toSkerryError } from '../errors/skerry-error.ts';
import type { ImageId, InstanceId } from '../ids.ts';
import type { Image, Images } from '../images/image.ts';
import type { Logger } from '../telemetry/logger.ts';

/** What became of it. */
export type ExitSnapshot =
  | { readonly kind: 'image'; readonly imageId: ImageId }
  | { readonly kind: 'failed'; readonly message: string };

/** What there is when a sandbox ended and nobody could take any. */
export const lostExitSnapshot: ExitSnapshot = {
  kind: 'failed',
  message: 'There is no exit snapshot: the files of the sandbox were gone before one could be taken.',
};

/** As long as the snapshots that the clients take themselves live by default. */
const TTL_MS = 30 * 24 * 3_600_000;
/** An agent that does not answer keeps no sandbox from ending. */
const AGENT_TIMEOUT_MS = 60_000;
const SIGKILL = 9;

interface ExitSnapshotParts {
  readonly images: Pick<Images, 'addLayer'>;
  readonly logger: Logger;
}

/** Of a sandbox that is suspended: its files are an image already, which goes with it. Never rejects. */
export function keepAsleep(imageOf: () => Promise<Image>, parts: ExitSnapshotParts): Promise<ExitSnapshot> {
  return made(parts, {}, async () =>
    parts.images.addLayer(
      await imageOf(),
      ({ directory }) => mkdir(directory), // nothing more
      { ttlMs: TTL_MS },
    ),
  );
}

/**
 * Kills everything in the instance and stops it, then makes its writable layer one of a new image. Never rejects.
 * @param instance undefined when there is none
 * @param imageOf what it was started from
 */
export async function takeExitSnapshot(
  instance: Instance | undefined,
  imageOf: () => Promise<Image>,
  parts: ExitSnapshotParts,
): Promise<ExitSnapshot> {
  if (!instance) return lostExitSnapshot;
  return made(parts, { instance: instance.id }, async () => {
    const image = await imageOf();
    const signal = AbortSignal.timeout(AGENT_TIMEOUT_MS);
    const agent = new AgentClient((abort) => instance.dial(abort), parts.logger);
    // Under gVisor what is still to be written out; elsewhere `stop` does the same, and needs no agent that lives.
    if (instance.filesInMemory) await agent.killAll(SIGKILL, signal);
    return parts.images.addLayer(image, ({ ref }) => commitLast(instance, agent, ref, signal), {
      ttlMs: TTL_MS,
    });
  });
}

/** The image that `make` makes, or why there is none. @param about for the log */
async function made(
  { logger }: Pick<ExitSnapshotParts, 'logger'>,
  about: { readonly instance?: InstanceId },
  make: () => Promise<Image>,
): Promise<ExitSnapshot> {
  try {
    const { id: imageId } = await make();
    return { kind: 'image', imageId };
  } catch (error) {
    logger.error({ ...about, err: error }, 'sandbox.exit-snapshot-failed');
    return { kind: 'failed', message: `The exit snapshot failed: ${toSkerryError(error).message}` };
  }
}
