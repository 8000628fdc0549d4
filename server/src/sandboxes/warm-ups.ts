/**
 * What an image has done before anything of a sandbox's own begins: a command that loads what takes long, and goes on beside the sandbox's programs. Where a checkpoint can be taken, one is taken
 * the moment the command is ready, and sandboxes of that image begin from it. It is anybody's: there is nothing in it but what the image says.
 */
import { createHash } from 'node:crypto';
import type { AgentClient } from '../agent/agent-client.ts';
import { runUntil } from '../agent/run-to-exit.ts';
import type { CheckpointOptions } from '../engines/engine.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import { type ImageId, type MemorySnapshotId, newProcessId } from '../ids.ts';
import type { Image, ImageConfig } from '../images/image.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { MemorySnapshots, Remembered } from './memory-snapshots.ts';
import type { SandboxSpec } from './spec.ts';
import type { LaunchPlan, Tenant } from './tenant.ts';

/** The label with the command: a JSON list, or a line for the image's shell, as CMD has it. */
const LABEL = 'skerry.warm-up';
/** The line of its output with which a command says that it is ready. One that exits with 0 is, too. */
const READY = 'ready';
const TIMEOUT_MS = 100_000;
/** What of its output is told when it fails, and how long a line may be that is looked at. */
const TOLD_CHARACTERS = 2000;
/** Before it is tried again to keep what could not be kept. */
const PAUSE_MS = 10 * 60_000;

/** What is there for a sandbox to begin from. */
export interface WarmedUp {
  readonly checkpoint: MemorySnapshotId;
  /** The image, with the files that the command wrote. */
  readonly image: ImageId;
}

export interface WarmUp {
  readonly argv: readonly string[];
  /** Without ids, and without anybody's secrets. */
  readonly env: Readonly<Record<string, string>>;
  /** What it is kept by for others once it is ready; undefined = not at all. */
  readonly key: string | undefined;
}

/** Of an image that names one. */
export function warmUpCommand({ labels, shell }: ImageConfig): readonly string[] | undefined {
  const text = labels[LABEL]?.trim();
  if (!text) return undefined;
  return argvOf(text) ?? [...shell, text];
}

function argvOf(text: string): string[] | undefined {
  try {
    const value: unknown = JSON.parse(text);
    const isArgv = Array.isArray(value) && value.length > 0 && value.every((arg) => typeof arg === 'string');
    return isArgv ? value : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Whether sandboxes like this one can begin from each other's checkpoint: it has nothing mounted, no hardware, and trusts whom all trust. One of a snapshot can not: few ask for the same.
 */
export function isAnybodys(spec: SandboxSpec, { snapshots = 0 }: Pick<Image, 'snapshots'>): boolean {
  const { gpu, buckets = [], volumes, mountIds, sidecarOf, secretHeaders, network } = spec;
  const has = [...buckets, ...volumes, ...mountIds].length > 0;
  const trustsAnother = secretHeaders !== undefined || network.headers !== undefined;
  return !gpu && !has && !sidecarOf && !trustsAnother && snapshots === 0;
}

/** The same for all that could begin from the same: what the command finds, and what the runtime must give again. */
export function warmUpKey(
  { layers, config: { user, workdir } }: Pick<Image, 'layers' | 'config'>,
  { argv, env }: Pick<WarmUp, 'argv' | 'env'>,
  { limits, disk }: Pick<LaunchPlan, 'limits' | 'disk'>,
): string {
  const parts = [layers, user, workdir, argv, env, limits, disk];
  return `warm-up:${createHash('sha256').update(JSON.stringify(parts)).digest('hex')}`;
}

export interface WarmUpsParts {
  readonly snapshots: Pick<MemorySnapshots, 'takeWarmUp' | 'warmUp' | 'removeWarmUp'>;
  readonly logger: Logger;
  readonly now: () => number;
}

/** Checkpoints of commands that are ready. */
export class WarmUps {
  readonly #parts: WarmUpsParts;
  /** Those that are not to be taken now: until when, in Unix milliseconds. */
  readonly #paused = new Map<string, number>();

  constructor(parts: WarmUpsParts) {
    this.#parts = parts;
  }

  find(key: string): WarmedUp | undefined {
    const row = this.#parts.snapshots.warmUp(key);
    return row && { checkpoint: row.id, image: row.spec.imageId };
  }

  /** Takes one of a sandbox in which nothing else has begun, unless there is one, or is about to be. Never rejects: the sandbox goes on without. */
  async keep(
    key: string,
    of: Pick<Remembered, 'id' | 'taskId' | 'spec'>,
    tenant: Tenant,
    settle: NonNullable<CheckpointOptions['settle']>,
  ): Promise<void> {
    const { snapshots, logger, now } = this.#parts;
    if (this.find(key) || now() < (this.#paused.get(key) ?? 0)) return;
    this.#paused.set(key, Infinity);
    try {
      const id = await snapshots.takeWarmUp(key, of, tenant, settle);
      this.#paused.delete(key);
      logger.info({ snapshot: id, sandbox: of.id }, 'warm-up.kept');
    } catch (err) {
      this.#paused.set(key, now() + PAUSE_MS);
      logger.warn({ sandbox: of.id, err }, 'warm-up.not-kept');
    }
  }

  /** Nobody can begin from it: the next one that could keeps another. */
  drop({ checkpoint }: Pick<WarmedUp, 'checkpoint'>, why: unknown): void {
    this.#parts.logger.info({ snapshot: checkpoint, err: why }, 'warm-up.dropped');
    this.#parts.snapshots.removeWarmUp(checkpoint);
  }
}

/**
 * Runs the command until it is ready. It goes on, and the agent is to be told to forget whose it is (`AgentClient.renew`).
 * @throws SkerryError `conflict` when it failed or took too long, with what it said; as `AgentClient.start`
 */
export async function runWarmUp(
  agent: AgentClient,
  { argv, env }: Pick<WarmUp, 'argv' | 'env'>,
  { workdir, user }: Pick<LaunchPlan, 'workdir' | 'user'>,
  signal: AbortSignal,
): Promise<void> {
  const ready = Promise.withResolvers<undefined>();
  const said = { stdout: '', stderr: '' };
  const exit = await runUntil(
    agent,
    {
      ...{ id: newProcessId(), argv, env, cwd: workdir, createCwd: true, user },
      ...{ timeoutMs: TIMEOUT_MS, stdout: 'pipe', stderr: 'pipe' },
    },
    (stream, chunk) => {
      const text = said[stream] + chunk.toString();
      if (stream === 'stdout' && text.split(/\r?\n/).slice(0, -1).includes(READY)) ready.resolve(undefined);
      said[stream] = text.slice(-TOLD_CHARACTERS);
    },
    ready.promise,
    signal,
  );
  if (exit === undefined || (exit.kind === 'code' && exit.value === 0)) return;
  const how = exit.timedOut
    ? `was not ready within ${TIMEOUT_MS / 1000} s`
    : `failed (${exit.kind} ${exit.value})`;
  throw new SkerryError(
    'conflict',
    `The command of the image's label ${LABEL} ${how}. It is to print the line "${READY}" or to exit with 0. ${said.stderr.trim()}`.trim(),
  );
}
