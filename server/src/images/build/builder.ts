/** One build: the stages that the last one needs, several at once. */
import { SkerryError } from '../../errors/skerry-error.ts';
import type { LayerId } from '../../ids.ts';
import { Limiter } from '../../platform/limiter.ts';
import type { BuildLog } from '../build-log.ts';
import type { Dockerfile, Stage } from '../dockerfile/instruction.ts';
import type { ImageDefinition } from '../image.ts';
import type { BuildContext } from './context.ts';
import { boundCredentials } from './registry-credentials.ts';
import { type BuilderParts, type BuiltImage, StageBuilder, type StageRun } from './stage-builder.ts';
import { StageLogs, StepCount } from './stage-log.ts';
import { type ArgValues, expandAt, globalArgValues, platformArgs } from './stage-state.ts';
import { neededStages } from './stages.ts';
import { BuildAborted } from './step-cache.ts';

const MAX_STAGES_AT_ONCE = 4;

export interface BuildRun {
  readonly definition: ImageDefinition;
  readonly dockerfile: Dockerfile;
  readonly context: BuildContext;
  readonly log: BuildLog;
  readonly signal: AbortSignal;
  /** Called when something is not cached: the build will take time. */
  readonly onMiss: () => void;
}

export class Builder {
  readonly #parts: BuilderParts;
  readonly #run: BuildRun;
  readonly #values: ArgValues;
  /** What the needed stages become. */
  readonly #stages = new Map<Stage, Promise<BuiltImage>>();
  readonly #pinned: LayerId[] = [];

  constructor(parts: BuilderParts, run: BuildRun) {
    this.#parts = parts;
    this.#run = run;
    const { definition, dockerfile } = run;
    const fixed = { buildArgs: definition.buildArgs, platform: platformArgs(process.arch) };
    this.#values = { ...fixed, global: globalArgValues(dockerfile.globalArgs, fixed, dockerfile.escapeChar) };
  }

  /**
   * Builds the last stage. `keep` is called with the result while its layers are still held, so that it can be written down.
   * @throws SkerryError with a message that names the instruction; what the signal was aborted with
   */
  async build(keep: (image: BuiltImage) => void): Promise<void> {
    const { stages } = this.#run.dockerfile;
    const global = (name: string) =>
      Object.hasOwn(this.#values.global, name) ? this.#values.global[name] : undefined;
    const expand = (stage: Stage) =>
      expandAt(stage.from.line, stage.from.image, global, this.#run.dockerfile.escapeChar);
    const needed = neededStages(stages, expand);
    for (const stage of needed) this.#checkPlatform(stage);
    try {
      const last = await this.#all(needed, expand);
      if (last) keep(last);
    } finally {
      this.#parts.layers.unpin(this.#pinned);
    }
  }

  /** Several at once; the first that fails ends the others. @returns the last */
  async #all(needed: readonly Stage[], expand: (stage: Stage) => string): Promise<BuiltImage | undefined> {
    const { definition, dockerfile, context, log, signal, onMiss } = this.#run;
    const steps = new StepCount(needed.reduce((sum, stage) => sum + 1 + stage.instructions.length, 0));
    // What a step writes in a volume, the stages after it have always seen.
    const limiter = new Limiter(definition.volumes.length > 0 ? 1 : MAX_STAGES_AT_ONCE);
    const failed = new AbortController();
    const [first] = dockerfile.stages;
    const shared: StageRun = {
      ...{ definition, dockerfile, context, onMiss, steps },
      ...{ values: this.#values, stages: this.#stages, pinned: this.#pinned, bases: new Map() },
      credentials: first && boundCredentials(definition, expand(first)),
      signal: AbortSignal.any([signal, failed.signal]),
    };
    const logs = new StageLogs(log, needed.length);
    let failure: unknown;
    for (const [index, stage] of needed.entries()) {
      // Each waits only for stages before it, whose turn came before: so there is always one that can go on.
      const built = limiter.run(() =>
        new StageBuilder(this.#parts, shared, stage, logs.of(index)).build(expand(stage)),
      );
      this.#stages.set(stage, built);
      built.then(
        () => logs.end(index),
        (error: unknown) => {
          if (!failed.signal.aborted) failure = error;
          failed.abort(new BuildAborted('another stage failed'));
        },
      );
    }
    const results = await Promise.allSettled(this.#stages.values());
    logs.endAll();
    if (failed.signal.aborted) throw failure;
    const last = results.at(-1);
    return last?.status === 'fulfilled' ? last.value : undefined;
  }

  #checkPlatform({ from }: Stage): void {
    if (from.platform === undefined) return;
    const lookup = (name: string) => this.#values.global[name];
    const asked = expandAt(from.line, from.platform, lookup, this.#run.dockerfile.escapeChar);
    const own = this.#values.platform.TARGETPLATFORM;
    if (asked !== '' && asked !== own && asked !== own?.split('/')[1]) {
      throw new SkerryError(
        'invalid-argument',
        `Dockerfile line ${from.line}: this machine builds for ${own}, not for ${asked}`,
      );
    }
  }
}
