/** Where COPY and the mounts of RUN take files from: the build context, a stage, or an image. */
import { join, posix } from 'node:path';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { LayerId } from '../../ids.ts';
import type { Cleanup } from '../../platform/cleanup.ts';
import type { Instruction, RunInstruction } from '../dockerfile/instruction.ts';
import { readRunMount } from '../dockerfile/run-mount.ts';
import type { LayerStore } from '../layer-store.ts';
import type { CopySource, LayerEdit } from '../layers/edit.ts';
import { editLayer } from '../layers/edit-layer.ts';
import type { BuildContext } from './context.ts';
import { named } from './failure.ts';
import { expandAt, lookupIn, type StageState } from './stage-state.ts';
import type { StepMount } from './step-mounts.ts';

/** Files for COPY or a mount. */
export interface SourceFiles {
  /** What they are, for a step's key. */
  readonly inputs: unknown;
  /** For the layer worker; may write below the directory it is given. */
  source(workspace: string): Promise<CopySource>;
}

export interface PlannedMount {
  /** For the step's key; the directory of a `bind` is still the path within its source. */
  readonly mount: StepMount;
  readonly inputs: unknown;
  /** Makes what the mount shows, which goes with `cleanup`. */
  readonly prepare: (cleanup: Cleanup) => Promise<StepMount>;
}

/** The layers of a stage or image by its name; they are held for the build. */
type FindImage = (name: string) => Promise<{ readonly layers: readonly LayerId[] }>;

interface Parts {
  readonly context: BuildContext;
  readonly layers: LayerStore;
  readonly escapeChar: string;
  readonly signal: AbortSignal;
}

export class StepSources {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  /** @param from undefined for the build context, where `patterns` choose */
  async tree(
    instruction: Instruction,
    from: string | undefined,
    patterns: readonly string[],
    image: FindImage,
    deep = false,
  ): Promise<SourceFiles> {
    const { context } = this.#parts;
    if (from !== undefined) {
      const { layers } = await named(instruction, () => image(from));
      const directories = layers.map((layer) => this.#parts.layers.path(layer));
      return {
        inputs: ['with capabilities', ...layers],
        source: async () => ({ kind: 'layers', layers: directories }),
      };
    }
    const paths = await named(instruction, () => context.match(patterns, deep));
    return {
      inputs: await context.fingerprint(paths),
      source: async (workspace) => ({ kind: 'context', entries: await context.stage(paths, workspace) }),
    };
  }

  /** The mounts of a RUN with their variables expanded. */
  async mounts(
    state: StageState,
    instruction: RunInstruction,
    image: FindImage,
  ): Promise<readonly PlannedMount[]> {
    const lookup = lookupIn(state);
    const expand = (word: string) => expandAt(instruction.line, word, lookup, this.#parts.escapeChar);
    const fail = (problem: string): never => {
      throw new SkerryError('invalid-argument', `Dockerfile line ${instruction.line}: ${problem}`);
    };
    const absolute = (path: string) => posix.resolve(state.config.workdir, path);
    const plans: PlannedMount[] = [];
    for (const written of instruction.mounts) {
      const mount = readRunMount(written, expand, fail);
      if (mount === undefined) continue;
      if (mount.target !== undefined && absolute(mount.target) === '/')
        fail('RUN --mount cannot be at /: give it a target, or set a WORKDIR');
      if (mount.type !== 'bind') {
        const placed: StepMount =
          mount.type === 'scratch'
            ? { ...mount, target: absolute(mount.target) }
            : { ...mount, target: mount.target === undefined ? undefined : absolute(mount.target) };
        plans.push({ mount: placed, inputs: null, prepare: async () => placed });
        continue;
      }
      const { source, from } = mount;
      const placed = { type: mount.type, target: absolute(mount.target), readOnly: mount.readOnly } as const;
      const files = await this.tree(instruction, from, [literal(source)], image).catch((error: unknown) => {
        if (from !== undefined || !(error instanceof SkerryError)) throw error;
        // The files of the directory are there, so the message alone would puzzle.
        const hint = 'the official clients send only files that some COPY names';
        throw new SkerryError(error.code, `${error.message}; ${hint}`, { cause: error });
      });
      plans.push({
        mount: { ...placed, directory: source },
        inputs: files.inputs,
        prepare: async (cleanup) => ({
          ...placed,
          directory: await this.#copied(instruction, source, files, cleanup),
        }),
      });
    }
    return plans;
  }

  /** A copy of what a mount shows: so links in it lead nowhere outside, and writes are lost with it. */
  async #copied(
    instruction: Instruction,
    source: string,
    files: SourceFiles,
    cleanup: Cleanup,
  ): Promise<string> {
    const workspace = await this.#parts.layers.workspace(cleanup);
    const edit: LayerEdit = {
      kind: 'copy',
      source: await files.source(workspace),
      patterns: [literal(source)],
      destination: '/files',
      chown: undefined,
      chmod: undefined,
      parents: false,
      exclude: [],
      heredocs: [],
      link: false,
      mirror: true,
      unpack: false,
    };
    const { layers, signal } = this.#parts;
    await named(instruction, () =>
      layers.within(signal, (signal) => editLayer({ workspace, layers: [], edit }, signal)),
    );
    return join(workspace, 'upper', 'files');
  }
}

/** A path as a pattern that means only itself. */
export const literal = (path: string): string => path.replace(/[*?[\]\\]/g, '\\$&') || '.';
