/** One build: walks the stages that the last one needs and turns each instruction into configuration or a layer. */
import { rename } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { ImageId, LayerId } from '../../ids.ts';
import type { Limiter } from '../../platform/limiter.ts';
import type { BaseRequest, Bases } from '../bases/bases.ts';
import type { BuildLog } from '../build-log.ts';
import type {
  CopyInstruction,
  Dockerfile,
  Instruction,
  RunInstruction,
  Stage,
} from '../dockerfile/instruction.ts';
import { withStep } from '../history.ts';
import { emptyImageConfig, type Image, type ImageConfig, type ImageDefinition } from '../image.ts';
import type { LayerStore } from '../layer-store.ts';
import type { LayerEdit } from '../layers/edit.ts';
import { editLayer } from '../layers/edit-layer.ts';
import type { ImageRepository } from '../repositories.ts';
import type { BuildContext } from './context.ts';
import { describeExit, named } from './failure.ts';
import type { StepRunner } from './run-step.ts';
import { type SourceFiles, StepSources } from './sources.ts';
import {
  type ArgValues,
  applyMetadata,
  expandAt,
  globalArgValues,
  lookupIn,
  platformArgs,
  type StageState,
  toArgv,
} from './stage-state.ts';
import { neededStages, stageNamed } from './stages.ts';
import { type CacheMode, type StepCache, sorted, stepKey, volumesKey } from './step-cache.ts';
import type { StepMount } from './step-mounts.ts';

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** https://docs.docker.com/reference/dockerfile/#predefined-args: RUN sees them without an ARG, and they are not in the key. */
const PROXY_ARGS = ['HTTP_PROXY', 'HTTPS_PROXY', 'FTP_PROXY', 'NO_PROXY', 'ALL_PROXY'].flatMap((name) => [
  name,
  name.toLowerCase(),
]);

export interface BuilderParts {
  readonly store: ImageRepository;
  readonly layers: LayerStore;
  readonly steps: StepCache;
  readonly bases: Bases;
  readonly runner: StepRunner;
  /** RUN steps at the same time, over all builds. */
  readonly limiter: Limiter;
  /** Environment of every RUN that points programs at the extra CA certificates. */
  readonly caEnvironment: Readonly<Record<string, string>>;
  readonly findNamed: (name: string) => Image | undefined;
  readonly getImage: (id: ImageId) => Image;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
}

export interface BuildRun {
  readonly definition: ImageDefinition;
  readonly dockerfile: Dockerfile;
  readonly context: BuildContext;
  readonly log: BuildLog;
  readonly signal: AbortSignal;
  /** Called when something is not cached: the build will take time. */
  readonly onMiss: () => void;
}

export interface BuiltImage {
  readonly layers: readonly LayerId[];
  readonly config: ImageConfig;
}

export class Builder {
  readonly #parts: BuilderParts;
  readonly #run: BuildRun;
  readonly #values: ArgValues;
  readonly #mode: CacheMode;
  readonly #sources: StepSources;
  readonly #stages = new Map<Stage, BuiltImage>();
  readonly #pinned: LayerId[] = [];
  #step = 0;
  #steps = 0;

  constructor(parts: BuilderParts, run: BuildRun) {
    this.#parts = parts;
    this.#run = run;
    const { definition, dockerfile } = run;
    const fixed = { buildArgs: definition.buildArgs, platform: platformArgs(process.arch) };
    this.#values = { ...fixed, global: globalArgValues(dockerfile.globalArgs, fixed, dockerfile.escapeChar) };
    this.#sources = new StepSources({ ...run, layers: parts.layers, escapeChar: dockerfile.escapeChar });
    this.#mode = definition.ignoreCache ? 'ignore' : definition.forceBuild ? 'replace' : 'use';
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
    this.#steps = needed.reduce((sum, stage) => sum + 1 + stage.instructions.length, 0);
    try {
      let last: BuiltImage | undefined;
      for (const stage of needed) {
        last = await this.#stage(stage, expand(stage));
        this.#stages.set(stage, last);
      }
      if (last) keep(last);
    } finally {
      this.#parts.layers.unpin(this.#pinned);
    }
  }

  async #stage(stage: Stage, image: string): Promise<BuiltImage> {
    this.#heading(stage.from.source);
    this.#checkPlatform(stage);
    const base = await this.#image(image, this.#run.dockerfile.stages.indexOf(stage));
    let state: StageState = { ...base, args: {}, cmdSet: false };
    for (const instruction of stage.instructions) {
      this.#run.signal.throwIfAborted();
      this.#heading(instruction.source);
      state = this.#noted(await this.#instruction(state, instruction, stage), instruction, state);
    }
    return state;
  }

  /** The state with the instruction in the image's history. */
  #noted(state: StageState, { kind, source }: Instruction, before: StageState): StageState {
    if (kind === 'ignored') return state;
    const layer = state.layers.length > before.layers.length ? (state.layers.at(-1) ?? null) : null;
    const text = this.#run.log.redact(source);
    return { ...state, config: withStep(state.config, { text, layer, atMs: this.#parts.clock() }) };
  }

  #heading(source: string): void {
    const text = source.length > 2000 ? `${source.slice(0, 2000)} ...` : source;
    this.#run.log.say(`Step ${++this.#step}/${this.#steps} : ${text}`);
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

  /** What FROM or COPY --from names; layers are held until the end of the build. */
  async #image(name: string, before: number): Promise<BuiltImage> {
    if (name === 'scratch') return { layers: [], config: emptyImageConfig };
    const stage = stageNamed(this.#run.dockerfile.stages, name, before);
    const built = stage && this.#stages.get(stage);
    if (built) return built;
    const given = this.#run.definition.baseImages.get(name);
    const ours = given === undefined ? this.#parts.findNamed(name) : this.#parts.getImage(given);
    if (ours) return this.#hold(ours);
    const image = await this.#fetched((request) =>
      this.#parts.bases.resolve({ ...request, reference: name }),
    );
    this.#pinned.push(...image.layers);
    return image;
  }

  #hold(image: Image): Image {
    for (const layer of image.layers) {
      this.#parts.layers.pin(layer);
      this.#pinned.push(layer);
    }
    return image;
  }

  async #instruction(state: StageState, instruction: Instruction, stage: Stage): Promise<StageState> {
    const { escapeChar } = this.#run.dockerfile;
    switch (instruction.kind) {
      case 'run':
        return this.#withLayer(state, await this.#runStep(state, instruction, stage));
      case 'copy':
        return this.#withLayer(state, await this.#copyStep(state, instruction, stage));
      case 'workdir': {
        const next = applyMetadata(state, instruction, this.#values, escapeChar);
        const edit: LayerEdit = { kind: 'make-directory', path: next.config.workdir };
        const layer = await this.#cached(stepKey('workdir', state.layers, edit.path), () =>
          this.#edit(state, async () => edit),
        );
        return this.#withLayer(next, layer);
      }
      case 'ignored':
        this.#run.log.say(` ---> Without effect: ${instruction.why}.`);
        return state;
      default:
        return applyMetadata(state, instruction, this.#values, escapeChar);
    }
  }

  #withLayer(state: StageState, layer: LayerId | null): StageState {
    return layer === null ? state : { ...state, layers: [...state.layers, layer] };
  }

  /** The layer of a step from the cache or made now, with a line in the log that says which. */
  async #cached(key: string, make: () => Promise<LayerId | null>): Promise<LayerId | null> {
    const { log, signal, onMiss } = this.#run;
    const started = performance.now();
    const { layer, cached } = await this.#parts.steps.get(
      key,
      this.#mode,
      signal,
      { onMiss, onJoin: () => log.say(' ---> Another build is at this step; waiting for it') },
      make,
    );
    if (layer !== null) this.#pinned.push(layer);
    log.say(
      cached ? ' ---> Using cache' : ` ---> Done in ${((performance.now() - started) / 1000).toFixed(1)} s`,
    );
    return layer;
  }

  async #runStep(state: StageState, instruction: RunInstruction, stage: Stage): Promise<LayerId | null> {
    const { definition, log, signal } = this.#run;
    const { config } = state;
    const env: Record<string, string> = { PATH: DEFAULT_PATH, ...state.args, ...config.env };
    const argv = scriptArgv(instruction, config.shell);
    if (argv.length === 0)
      throw new SkerryError('image-build-failed', `Dockerfile line ${instruction.line}: RUN has no command`);
    const mounts = await this.#sources.mounts(state, instruction, this.#images(stage));
    const key = stepKey('run', state.layers, [
      argv,
      sorted(env),
      config.workdir,
      config.user,
      instruction.network,
      mounts.map(({ mount, inputs }) => [mount, inputs]),
      Object.keys(definition.secretEnv).sort(),
      ...volumesKey(definition),
    ]);
    const proxies = PROXY_ARGS.flatMap((name) => {
      const value = definition.buildArgs[name];
      return value === undefined ? [] : [[name, value]];
    });
    return this.#cached(key, () =>
      this.#parts.limiter.run(() =>
        this.#parts.layers.add(async (layer) => {
          await using cleanup = this.#parts.layers.scope();
          const output = { stdout: log.output('stdout'), stderr: log.output('stderr') };
          const prepared: StepMount[] = [];
          for (const { prepare } of mounts) prepared.push(await prepare(cleanup));
          const request = {
            layers: state.layers,
            argv,
            env: {
              ...this.#parts.caEnvironment,
              ...Object.fromEntries(proxies),
              ...env,
              ...definition.secretEnv,
            },
            cwd: config.workdir,
            user: config.user,
            network: instruction.network,
            mounts: prepared,
            volumes: definition.volumes,
            secrets: definition.secretEnv,
            workspace: await this.#parts.layers.workspace(cleanup),
          };
          const outcome = await named(instruction, () =>
            this.#parts.runner.run(request, output, layer, signal),
          );
          const failure = describeExit(instruction, outcome, output);
          if (failure !== undefined) throw new SkerryError('image-build-failed', log.redact(failure));
        }),
      ),
    );
  }

  async #copyStep(state: StageState, instruction: CopyInstruction, stage: Stage): Promise<LayerId | null> {
    const { escapeChar } = this.#run.dockerfile;
    const lookup = lookupIn(state);
    const expand = (word: string) => expandAt(instruction.line, word, lookup, escapeChar);
    const destination = absoluteDestination(expand(instruction.destination), state.config.workdir);
    const chown = instruction.chown === undefined ? undefined : expand(instruction.chown);
    const chmod =
      instruction.chmod === undefined ? undefined : parseMode(expand(instruction.chmod), instruction.line);
    const heredocs = instruction.heredocs.map(({ name, content, expand: expands }) => ({
      name,
      // Quotes in the text are text, so only the variables go through expansion.
      content: expands ? expandText(content, (word) => expand(word)) : content,
    }));
    const { tree, patterns } = await this.#copySource(instruction, stage, expand);
    const key = stepKey('copy', state.layers, [
      tree.inputs,
      patterns,
      destination,
      chown ?? null,
      chmod ?? null,
      heredocs,
      instruction.unpack,
    ]);
    return this.#cached(key, () =>
      named(instruction, () =>
        this.#edit(state, async (workspace) => ({
          kind: 'copy',
          source: await tree.source(workspace),
          patterns,
          destination,
          chown,
          chmod,
          heredocs,
          unpack: instruction.unpack,
        })),
      ),
    );
  }

  /** The images and stages that an instruction of this stage can name. */
  #images(stage: Stage): (name: string) => Promise<BuiltImage> {
    return (name) => this.#image(name, this.#run.dockerfile.stages.indexOf(stage));
  }

  /** Where files are copied from, and which. */
  async #copySource(
    instruction: CopyInstruction,
    stage: Stage,
    expand: (word: string) => string,
  ): Promise<{ tree: SourceFiles; patterns: string[] }> {
    const patterns = instruction.sources.map(expand);
    const from = instruction.from === undefined ? undefined : expand(instruction.from);
    const { standalonePython } = this.#run.definition;
    const inPython = /^\/?python(?=\/|$)/;
    if (
      from !== undefined ||
      !standalonePython ||
      patterns.length === 0 ||
      !patterns.every((pattern) => inPython.test(pattern))
    ) {
      return { tree: await this.#sources.tree(instruction, from, patterns, this.#images(stage)), patterns };
    }
    // The context's folder `python` is that Python, which lies in /usr/local of its layers.
    const tree = await this.#sources.tree(instruction, 'add_python', [], async (reference) => {
      const layers = await this.#fetched((request) =>
        this.#parts.bases.standalonePython(standalonePython, { ...request, reference }),
      );
      this.#pinned.push(...layers);
      return { layers };
    });
    return { tree, patterns: patterns.map((pattern) => pattern.replace(inPython, '/usr/local')) };
  }

  /** Something that `bases` gets, with its progress in the build log. */
  async #fetched<T>(work: (request: Omit<BaseRequest, 'reference'>) => Promise<T>): Promise<T> {
    const { definition, log, signal, onMiss } = this.#run;
    const output = log.output('stderr');
    try {
      return await work({
        credentials: definition.registryCredentials,
        signal,
        onMiss,
        say: (line) => log.say(` ---> ${line}`),
        onOutput: (chunk) => output.write(chunk),
      });
    } finally {
      output.end();
    }
  }

  #edit(state: StageState, makeEdit: (workspace: string) => Promise<LayerEdit>): Promise<LayerId | null> {
    return this.#parts.layers.add(async ({ directory }) => {
      await using cleanup = this.#parts.layers.scope();
      const workspace = await this.#parts.layers.workspace(cleanup);
      const layers = state.layers.map((layer) => this.#parts.layers.path(layer));
      await editLayer({ workspace, layers, edit: await makeEdit(workspace) }, this.#run.signal);
      await rename(join(workspace, 'upper'), directory);
    });
  }
}

/** A heredoc that is the whole command is a script: with `#!` it is run as a program, else by the shell. */
function scriptArgv({ command, script }: RunInstruction, shell: readonly string[]): readonly string[] {
  if (script === undefined) return toArgv(command, shell);
  if (!script.startsWith('#!')) return [...shell, script];
  const runScript =
    'f=$(mktemp) && printf %s "$1" >"$f" && chmod 0700 "$f" && { "$f"; status=$?; rm -f "$f"; exit $status; }';
  return ['/bin/sh', '-c', runScript, 'sh', script];
}

/** Relative to the working directory; a trailing slash (or `.`) stays, since it says that the target is a directory. */
function absoluteDestination(path: string, workdir: string): string {
  const absolute = posix.resolve(workdir, path);
  return /(^|\/)\.{0,2}$/.test(path) && absolute !== '/' ? `${absolute}/` : absolute;
}

function parseMode(text: string, line: number): number {
  if (!/^[0-7]{3,5}$/.test(text)) {
    throw new SkerryError(
      'invalid-argument',
      `Dockerfile line ${line}: --chmod takes an octal mode such as 755, not \`${text.slice(0, 40)}\``,
    );
  }
  return Number.parseInt(text, 8) & 0o7777;
}

/** Expands the variables of a heredoc's text and leaves its quotes alone. */
function expandText(text: string, expand: (word: string) => string): string {
  return text.replaceAll(/\\\$|\$\{[^}\n]*\}|\$[A-Za-z_][A-Za-z0-9_]*/g, (match) =>
    match === '\\$' ? '$' : expand(match),
  );
}
