/** Has an instance's kernel write out what it keeps of the files, before they are copied from outside (`Instance.filesInMemory`). */
import { z } from 'zod';
import type { Fifo, Instance } from '../engines/engine.ts';
import { GUEST_FS_TOOLS } from '../engines/paths.ts';
import type { LayerRef } from '../engines/references.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import { newProcessId } from '../ids.ts';
import type { AgentClient } from './agent-client.ts';
import type { AgentExit } from './frames.ts';
import { runToExit } from './run-to-exit.ts';

/** Every directory of the sandbox is looked at, and all that it wrote goes to the disk. */
const TIMEOUT_MS = 10 * 60_000;
/** One argument of a program may have 128 KiB, and a character of a path six bytes in JSON. */
const PATHS_AT_ONCE = 20;
const MAX_REMADE_PATH = 1000;
const MAX_ANSWER_BYTES = 8 << 20;

// The helper runs beside untrusted code.
const timeSchema = z.string().regex(/^-?\d{1,15}\.\d{9}$/);
const fifosSchema = z
  .array(
    z.object({
      path: z.string().startsWith('/').max(4096),
      mode: z.int().min(0).max(0o7777),
      uid: z.int().min(0).max(0xffff_ffff),
      gid: z.int().min(0).max(0xffff_ffff),
      mtime: timeSchema,
      directoryMtime: timeSchema,
    }),
  )
  .max(10_000);

/** @returns the FIFOs that `commit` has to be told of. @throws SkerryError what the agent throws; `unavailable` when the helper fails */
export async function settleFiles(
  instance: Pick<Instance, 'filesInMemory'>,
  agent: AgentClient,
  signal: AbortSignal,
): Promise<readonly Fifo[]> {
  if (!instance.filesInMemory) return [];
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
  const { exit, stdout } = await runHelper(agent, { Settle: { path: '/' } }, deadline);
  const fifos = exit.value === 0 ? fifosSchema.safeParse(parseJson(stdout)).data : undefined;
  if (fifos) return fifos;
  throw new SkerryError('unavailable', "The sandbox's file helper could not prepare its files to be copied.");
}

/**
 * Makes a layer of what an instance wrote, which nothing needs any more. Where there are no FIFOs, which is nearly always, it is stopped and its files are moved;
 * else they are copied.
 * @throws SkerryError as `settleFiles`, `Instance.commit`
 */
export async function commitLast(
  instance: Pick<Instance, 'filesInMemory' | 'commit' | 'stop'>,
  agent: AgentClient,
  layer: LayerRef,
  signal: AbortSignal,
): Promise<void> {
  const settle = () => settleFiles(instance, agent, signal);
  if ((await settle()).length > 0) return instance.commit(layer, { move: false, settle });
  await instance.stop();
  await instance.commit(layer, { move: true });
}

/** Makes the FIFOs of the image usable, before anything else runs. */
export async function remakeFifos(
  instance: Pick<Instance, 'filesInMemory' | 'imageFifos'>,
  agent: AgentClient,
  signal: AbortSignal,
): Promise<void> {
  if (!instance.filesInMemory) return;
  const paths = ((await instance.imageFifos?.()) ?? []).filter((path) => path.length <= MAX_REMADE_PATH);
  for (let at = 0; at < paths.length; at += PATHS_AT_ONCE) {
    const request = { RemakeFifos: { path: '/', paths: paths.slice(at, at + PATHS_AT_ONCE) } };
    await runHelper(agent, request, signal);
  }
}

async function runHelper(
  agent: AgentClient,
  request: object,
  signal: AbortSignal,
): Promise<{ exit: AgentExit; stdout: string }> {
  const chunks: Buffer[] = [];
  let size = 0;
  const exit = await runToExit(
    agent,
    {
      id: newProcessId(),
      argv: [GUEST_FS_TOOLS, JSON.stringify(request)],
      env: {},
      cwd: '/',
      timeoutMs: TIMEOUT_MS,
      stdout: 'pipe',
      stderr: 'null',
    },
    (_stream, chunk) => {
      size += chunk.length;
      if (size <= MAX_ANSWER_BYTES) chunks.push(chunk);
    },
    signal,
  );
  return { exit, stdout: Buffer.concat(chunks).toString('utf8') };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
