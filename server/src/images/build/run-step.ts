/**
 * Carries out one RUN: an instance of ours on the layers below, the command through the agent, and the writable layer as the result. What it writes in volumes is
 * theirs, and kept however the step ends.
 */
import { AgentClient } from '../../agent/agent-client.ts';
import type { AgentExit } from '../../agent/frames.ts';
import { runToExit } from '../../agent/run-to-exit.ts';
import { commitLast } from '../../agent/settle-files.ts';
import type { DiskSize, Instance, InstanceExit, RuntimeChoice } from '../../engines/engine.ts';
import { SkerryError } from '../../errors/skerry-error.ts';
import { type LayerId, newProcessId, newTaskId } from '../../ids.ts';
import type { InstanceService } from '../../instances/instance-service.ts';
import { CleanupScope } from '../../platform/cleanup.ts';
import type { Logger } from '../../telemetry/logger.ts';
import type { VolumeMountSpec } from '../../volumes/volume-mount-specs.ts';
import type { VolumeMounts } from '../../volumes/volume-mounts.ts';
import type { NewLayer } from '../image.ts';
import type { LayerStore } from '../layer-store.ts';
import type { OutputSink } from '../output-sink.ts';
import { prepareMounts, removeMountPoints, type StepMount } from './step-mounts.ts';

/** What of the processors a build step may use. Package managers and compilers need more than most sandboxes. */
const CPU = { milliCpu: 8000, milliCpuRequest: 1000 } as const;
/** A step that takes longer is taken for stuck. */
const STEP_TIMEOUT_MS = 2 * 60 * 60_000;

export interface RunRequest {
  /** Those below, lowest first. */
  readonly layers: readonly LayerId[];
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly user: string;
  readonly network: 'open' | 'blocked';
  readonly mounts: readonly StepMount[];
  readonly volumes: readonly VolumeMountSpec[];
  /** Values of secret mounts by id. */
  readonly secrets: Readonly<Record<string, string>>;
  /** An empty directory of the caller for what is mounted. */
  readonly workspace: string;
}

export interface RunOutcome {
  readonly exit: AgentExit;
  /** The kernel killed a process of the step for memory. */
  readonly outOfMemory: boolean;
  /** How much it may have written; undefined where only the machine bounds that. */
  readonly diskMiB: number | undefined;
}

export interface StepRunnerParts {
  readonly instances: Pick<InstanceService, 'start' | 'destroy' | 'boundsDisk'>;
  readonly volumes: Pick<VolumeMounts, 'attach' | 'detach'>;
  readonly runtime: RuntimeChoice;
  /** What a step may write, where the machine can bound it. */
  readonly disk: DiskSize;
  readonly limits: { readonly memoryMiB: number; readonly pids: number };
  readonly layers: LayerStore;
  readonly logger: Logger;
}

export class StepRunner {
  readonly #parts: StepRunnerParts;

  constructor(parts: StepRunnerParts) {
    this.#parts = parts;
  }

  /**
   * Runs the command; when it exits with 0 its files become `layer`.
   * @throws SkerryError what the engine or the agent throws; `image-build-failed` when the instance died
   */
  async run(
    request: RunRequest,
    output: Readonly<Record<'stdout' | 'stderr', OutputSink>>,
    layer: NewLayer,
    signal: AbortSignal,
  ): Promise<RunOutcome> {
    // The step is done when its files are: an instance that cannot be taken away at once goes later.
    await using cleanup = new CleanupScope(this.#parts.logger);
    const { instances, runtime, disk, limits, layers, volumes } = this.#parts;
    const prepared = await prepareMounts(request.mounts, request.secrets, request.workspace, (path) =>
      layers.refer(path),
    );
    // Nobody's sandbox: if this server dies, the next one finds no task of this id, and keeps what was written.
    const taskId = newTaskId();
    const bound = instances.boundsDisk(runtime) ? { disk } : {};
    let gone = true;
    cleanup.add('volumes', () => volumes.detach(taskId, gone));
    const instance = await instances.start(
      { layers: request.layers, runtime, ...bound },
      async ({ firstId }) => ({
        hostname: 'skerry-build',
        limits: { ...limits, ...CPU },
        network: request.network === 'open' ? { kind: 'open' } : { kind: 'blocked' },
        mounts: [...prepared.mounts, ...(await volumes.attach(taskId, request.volumes, firstId))],
      }),
      signal,
    );
    gone = false;
    cleanup.add('build instance', async () => {
      await instances.destroy(instance.id);
      gone = true;
    });
    const withSecrets = { ...request, env: { ...request.env, ...prepared.env } };
    const exit = await this.#execute(instance, withSecrets, output, signal);
    const outOfMemory = (await instance.stats().catch(() => undefined))?.oomKills ?? 0;
    if (exit.kind === 'code' && exit.value === 0) {
      await commitLast(instance, this.#agent(instance), layer.ref, signal);
      const below = request.layers.map((each) => layers.path(each));
      await removeMountPoints(layer.directory, below, [...prepared.mounts, ...request.volumes]);
    }
    return { exit, outOfMemory: outOfMemory > 0, diskMiB: bound.disk?.sizeMiB };
  }

  #agent(instance: Instance): AgentClient {
    return new AgentClient((signal) => instance.dial(signal), this.#parts.logger);
  }

  async #execute(
    instance: Instance,
    request: RunRequest,
    output: Readonly<Record<'stdout' | 'stderr', OutputSink>>,
    signal: AbortSignal,
  ): Promise<AgentExit> {
    const gone = new AbortController();
    void instance.exited.then((why) => gone.abort(this.#gone(why)));
    try {
      return await runToExit(
        this.#agent(instance),
        {
          id: newProcessId(),
          argv: request.argv,
          env: request.env,
          cwd: request.cwd,
          createCwd: true,
          user: request.user,
          timeoutMs: STEP_TIMEOUT_MS,
          stdout: 'pipe',
          stderr: 'pipe',
        },
        (stream, chunk) => output[stream].write(chunk),
        AbortSignal.any([signal, gone.signal]),
      );
    } catch (error) {
      // A connection that breaks may tell of it before the engine says why.
      const ended = error instanceof SkerryError && error.code === 'sandbox-ended';
      throw ended ? this.#gone(await instance.exited) : error;
    } finally {
      output.stdout.end();
      output.stderr.end();
    }
  }

  #gone(why: InstanceExit): SkerryError {
    if (why.reason === 'out-of-memory') {
      const { memoryMiB } = this.#parts.limits;
      return new SkerryError(
        'image-build-failed',
        `the step ran out of memory (limit ${memoryMiB} MiB, buildMemoryMiB)`,
      );
    }
    const how = why.reason === 'crashed' ? why.message : 'it was destroyed';
    return new SkerryError('unavailable', `the sandbox of the step ended: ${how}`);
  }
}
