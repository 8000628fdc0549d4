/** One stage of a build: turns each instruction into configuration or a layer. */
import { rename } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { ImageId, LayerId } from '../../ids.ts';
import type { Cleanup } from '../../platform/cleanup.ts';
import type { Limiter } from '../../platform/limiter.ts';
import type { BaseRequest, Bases } from '../bases/bases.ts';
import { changeMode, checkAdded, checkChecksum, checkMode, isUrl } from '../dockerfile/copy-words.ts';
import type {
  CopyInstruction,
  Dockerfile,
  Instruction,
  RunInstruction,
  Stage,
} from '../dockerfile/instruction.ts';
import { parseDockerfile } from '../dockerfile/parse.ts';
import { withStep } from '../history.ts';
import {
  type BoundCredentials,
  emptyImageConfig,
  type Image,
  type ImageConfig,
  type ImageDefinition,
} from '../image.ts';
import type { LayerStore } from '../layer-store.ts';
import type { ContextEntry, LayerEdit } from '../layers/edit.ts';
import { editLayer } from '../layers/edit-layer.ts';
import type { ImageRepository } from '../repositories.ts';
import type { BuildContext } from './context.ts';
import { describeExit, named } from './failure.ts';
import type { StepRunner } from './run-step.ts';
import { literal, type SourceFiles, StepSources } from './sources.ts';
import type { StageLog, StepCount } from './stage-log.ts';
import { type ArgValues, applyMetadata, expandAt, lookupIn, type StageState, toArgv } from './stage-state.ts';
import { stageNamed } from './stages.ts';
import { type CacheMode, type StepCache, sorted, stepKey, surroundingsKey } from './step-cache.ts';
import type { StepMount } from './step-mounts.ts';

type StageInstruction = Stage['instructions'][number];

const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** https://docs.docker.com/reference/dockerfile/#predefined-args: RUN sees them without an ARG, and they are not in the key. */
const PROXY_ARGS = ['HTTP_PROXY', 'HTTPS_PROXY', 'FTP_PROXY', 'NO_PROXY', 'ALL_PROXY'].flatMap((name) => [
  name,
  name.toLowerCase(),
]);

/** Of what the configuration has for whoever runs the image elsewhere. */
const WITHOUT_EFFECT = {
  volume: 'Kept in the configuration. Sandboxes have the volumes that they are created with.',
  healthcheck: 'Kept in the configuration. Sandboxes have the readiness probe that they are created with.',
} as const;

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
  /** Fetches the file of a URL. @returns its digest, as a checksum is written */
  readonly fetchUrl: (
    url: string,
    file: string,
    checksum: string | undefined,
    signal: AbortSignal,
  ) => Promise<string>;
  /** Milliseconds since the epoch. */
  readonly clock: () => number;
}

/** What all stages of a build have. */
export interface StageRun {
  readonly definition: ImageDefinition;
  readonly dockerfile: Dockerfile;
  readonly context: BuildContext;
  readonly signal: AbortSignal;
  /** Called when something is not cached: the build will take time. */
  readonly onMiss: () => void;
  readonly values: ArgValues;
  readonly credentials: BoundCredentials | undefined;
  readonly steps: StepCount;
  /** What the needed stages become, each there before those after it begin. */
  readonly stages: ReadonlyMap<Stage, Promise<BuiltImage>>;
  /** Bases by name, as they are looked up: one after the other, so that none is fetched twice. */
  readonly bases: Map<string, Promise<unknown>>;
  /** Takes the layers that are held until the end of the build. */
  readonly pinned: LayerId[];
}

export interface BuiltImage {
  readonly layers: readonly LayerId[];
  readonly config: ImageConfig;
  /** What ARG set in a stage, which stages that start from it see as well. */
  readonly args?: Readonly<Record<string, string>>;
}

export class StageBuilder {
  readonly #parts: BuilderParts;
  readonly #run: StageRun & { readonly log: StageLog };
  readonly #stage: Stage;
  readonly #mode: CacheMode;
  readonly #sources: StepSources;

  constructor(parts: BuilderParts, run: StageRun, stage: Stage, log: StageLog) {
    this.#parts = parts;
    this.#run = { ...run, log };
    this.#stage = stage;
    const { definition, dockerfile } = run;
    this.#sources = new StepSources({ ...run, layers: parts.layers, escapeChar: dockerfile.escapeChar });
    this.#mode = definition.ignoreCache ? 'ignore' : definition.forceBuild ? 'replace' : 'use';
  }

  /** @param image what the stage starts from @throws SkerryError with a message that names the instruction; what the signal was aborted with */
  async build(image: string): Promise<BuiltImage> {
    const { from, instructions } = this.#stage;
    this.#heading(from.source);
    const base = await this.#image(image);
    const { onBuild = [], ...config } = base.config;
    // Later images and programs find it in the configuration, as in those that Docker builds.
    const env = { ...config.env, PATH: config.env.PATH ?? DEFAULT_PATH };
    let state: StageState = { args: {}, ...base, config: { ...config, env }, cmdSet: false };
    const triggers = onBuild.map((trigger) => parseTrigger(trigger, from.line, image));
    this.#run.steps.add(triggers.length);
    for (const instruction of [...triggers, ...instructions]) {
      this.#run.signal.throwIfAborted();
      this.#heading(instruction.source);
      state = this.#noted(await this.#instruction(state, instruction), instruction, state);
    }
    return state;
  }

  /** The state with the instruction in the image's history. */
  #noted(state: StageState, { source }: Instruction, before: StageState): StageState {
    const layer = state.layers.length > before.layers.length ? (state.layers.at(-1) ?? null) : null;
    const text = this.#run.log.redact(source);
    return { ...state, config: withStep(state.config, { text, layer, atMs: this.#parts.clock() }) };
  }

  #heading(source: string): void {
    const text = source.length > 2000 ? `${source.slice(0, 2000)} ...` : source;
    this.#run.log.say(() => `Step ${this.#run.steps.next()} : ${text}`);
  }

  /** What FROM or COPY --from names; layers are held until the end of the build. */
  async #image(name: string): Promise<BuiltImage> {
    if (name === 'scratch') return { layers: [], config: emptyImageConfig };
    const { dockerfile, stages, definition, bases } = this.#run;
    const earlier = stageNamed(dockerfile.stages, name, dockerfile.stages.indexOf(this.#stage));
    const built = earlier && stages.get(earlier);
    if (built) return built;
    const given = definition.baseImages.get(name);
    const ours = given === undefined ? this.#parts.findNamed(name) : this.#parts.getImage(given);
    if (ours) return this.#hold(ours);
    const inTurn = (bases.get(name) ?? Promise.resolve())
      .catch(() => {})
      .then(() => this.#fetched((request) => this.#parts.bases.resolve({ ...request, reference: name })));
    bases.set(name, inTurn);
    const image = await inTurn;
    this.#run.pinned.push(...image.layers);
    return image;
  }

  #hold(image: Image): Image {
    for (const layer of image.layers) {
      this.#parts.layers.pin(layer);
      this.#run.pinned.push(layer);
    }
    return image;
  }

  async #instruction(state: StageState, instruction: Instruction): Promise<StageState> {
    const { escapeChar } = this.#run.dockerfile;
    switch (instruction.kind) {
      case 'run':
        return this.#withLayer(state, await this.#runStep(state, instruction));
      case 'copy':
        return this.#withLayer(state, await this.#copyStep(state, instruction));
      case 'workdir': {
        const next = applyMetadata(state, instruction, this.#run.values, escapeChar);
        const edit: LayerEdit = { kind: 'make-directory', path: next.config.workdir };
        const layer = await this.#cached(stepKey('workdir', state.layers, edit.path), () =>
          this.#edit(state, async () => edit),
        );
        return this.#withLayer(next, layer);
      }
      default:
        if (instruction.kind === 'volume' || instruction.kind === 'healthcheck')
          this.#run.log.say(` ---> ${WITHOUT_EFFECT[instruction.kind]}`);
        return applyMetadata(state, instruction, this.#run.values, escapeChar);
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
    if (layer !== null) this.#run.pinned.push(layer);
    log.say(
      cached ? ' ---> Using cache' : ` ---> Done in ${((performance.now() - started) / 1000).toFixed(1)} s`,
    );
    return layer;
  }

  async #runStep(state: StageState, instruction: RunInstruction): Promise<LayerId | null> {
    const { definition, log, signal } = this.#run;
    const { config } = state;
    const env: Record<string, string> = { ...config.env, ...state.args };
    const argv = scriptArgv(instruction, config.shell);
    if (argv.length === 0)
      throw new SkerryError('image-build-failed', `Dockerfile line ${instruction.line}: RUN has no command`);
    const mounts = await this.#sources.mounts(state, instruction, (name) => this.#image(name));
    const key = stepKey('run', state.layers, [
      argv,
      sorted(env),
      config.workdir,
      config.user,
      instruction.network,
      mounts.map(({ mount, inputs }) => [mount, inputs]),
      ...surroundingsKey(definition),
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

  async #copyStep(state: StageState, instruction: CopyInstruction): Promise<LayerId | null> {
    const { escapeChar } = this.#run.dockerfile;
    const { line } = instruction;
    const lookup = lookupIn(state);
    const expand = (word: string) => expandAt(line, word, lookup, escapeChar);
    const expandMaybe = (word: string | undefined) => (word === undefined ? undefined : expand(word));
    const fail = (problem: string): never => {
      throw new SkerryError('invalid-argument', `Dockerfile line ${line}: ${problem}`);
    };
    const destination = absoluteDestination(expand(instruction.destination), state.config.workdir);
    const chown = expandMaybe(instruction.chown);
    const chmod = expandMaybe(instruction.chmod);
    if (chmod !== undefined) checkMode(chmod, fail);
    const checksum = expandMaybe(instruction.checksum);
    if (checksum !== undefined) checkChecksum(checksum, fail);
    const heredocs = instruction.heredocs.map(({ name, content, expand: expands }) => ({
      name,
      // Quotes in the text are text, so only the variables go through expansion.
      content: expands ? expandAt(line, content, lookup, '\\', 'text') : content,
    }));
    const words = instruction.sources.map(expand);
    if (instruction.add) checkAdded(words, checksum, fail);
    const isFetched = instruction.add && words.some(isUrl);
    const unpack = instruction.unpack ?? (instruction.add && !isFetched);
    const { parents, link } = instruction;
    const exclude = instruction.exclude.map(expand);
    await using cleanup = this.#parts.layers.scope();
    const { tree, patterns } = isFetched
      ? await this.#fetchedFiles(instruction, words, checksum, cleanup)
      : await this.#copySource(instruction, words, expandMaybe(instruction.from));
    // Of the layers below a linked copy sees only the owners that it names.
    const seen = link && /^[0-9:]*$/.test(chown ?? '') ? [] : state.layers;
    const key = stepKey(link ? 'linked copy' : 'copy over directories', seen, [
      tree.inputs,
      patterns,
      destination,
      chown ?? null,
      // Octal modes are in keys as numbers.
      chmod !== undefined && /^[0-7]+$/.test(chmod) ? changeMode(chmod, 0, false) : (chmod ?? null),
      heredocs,
      unpack,
      ...(parents || exclude.length > 0 ? [parents, exclude] : []),
    ]);
    return await this.#cached(key, () =>
      named(instruction, () =>
        this.#edit(state, async (workspace) => ({
          kind: 'copy',
          source: await tree.source(workspace),
          ...{ patterns, destination, chown, chmod, parents, exclude, heredocs, link, unpack },
        })),
      ),
    );
  }

  /** Files of URLs: what has no checksum is fetched each time, since only its content says whether the step is cached. */
  async #fetchedFiles(
    instruction: CopyInstruction,
    urls: readonly string[],
    checksum: string | undefined,
    cleanup: Cleanup,
  ): Promise<{ tree: SourceFiles; patterns: string[] }> {
    const { log, signal, onMiss } = this.#run;
    const { layers, fetchUrl } = this.#parts;
    const wanted = urls.map((url, index) => ({ url, path: `${index}/${fileNameOf(url, instruction)}` }));
    const fetchAll = async () => {
      const workspace = await layers.workspace(cleanup);
      const files: (ContextEntry & { readonly digest: string })[] = [];
      for (const [index, { url, path }] of wanted.entries()) {
        log.say(` ---> Fetching ${url}`);
        const file = join(workspace, String(index));
        const digest = await fetchUrl(url, file, checksum, signal);
        files.push({ path, file, mode: 0o600, digest });
      }
      return files;
    };
    if (checksum === undefined) onMiss();
    const before = checksum === undefined ? await named(instruction, fetchAll) : undefined;
    return {
      tree: {
        inputs: ['urls', ...wanted.map(({ path }, index) => [path, before?.[index]?.digest ?? checksum])],
        source: async () => {
          const entries = (before ?? (await fetchAll())).map(({ path, file, mode }) => ({
            path,
            file,
            mode,
          }));
          return { kind: 'context', entries };
        },
      },
      patterns: wanted.map(({ path }) => literal(path)),
    };
  }

  /** Where files are copied from, and which. */
  async #copySource(
    instruction: CopyInstruction,
    patterns: readonly string[],
    from: string | undefined,
  ): Promise<{ tree: SourceFiles; patterns: readonly string[] }> {
    const { standalonePython } = this.#run.definition;
    const inPython = /^\/?python(?=\/|$)/;
    if (
      from !== undefined ||
      !standalonePython ||
      patterns.length === 0 ||
      !patterns.every((pattern) => inPython.test(pattern))
    ) {
      const images = (name: string) => this.#image(name);
      return {
        tree: await this.#sources.tree(instruction, from, patterns, images, instruction.parents),
        patterns,
      };
    }
    // The context's folder `python` is that Python, which lies in /usr/local of its layers.
    const tree = await this.#sources.tree(instruction, 'add_python', [], async (reference) => {
      const layers = await this.#fetched((request) =>
        this.#parts.bases.standalonePython(standalonePython, { ...request, reference }),
      );
      this.#run.pinned.push(...layers);
      return { layers };
    });
    return { tree, patterns: patterns.map((pattern) => pattern.replace(inPython, '/usr/local')) };
  }

  /** Something that `bases` gets, with its progress in the build log. */
  async #fetched<T>(work: (request: Omit<BaseRequest, 'reference'>) => Promise<T>): Promise<T> {
    const { credentials, log, signal, onMiss } = this.#run;
    const output = log.output('stderr');
    try {
      return await work({
        credentials,
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
      const edit = await makeEdit(workspace);
      await this.#parts.layers.within(this.#run.signal, (signal) =>
        editLayer({ workspace, layers, edit }, signal),
      );
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

/** What a file of a URL is called where the destination is a directory. */
function fileNameOf(url: string, { line, destination }: CopyInstruction): string {
  const { pathname } = new URL(url);
  let name = pathname.slice(pathname.lastIndexOf('/') + 1);
  try {
    name = decodeURIComponent(name);
  } catch {
    // as it is written
  }
  const isName = name !== '' && name !== '.' && name !== '..' && !/[/\0]/.test(name);
  if (isName) return name;
  if (!destination.endsWith('/')) return 'file';
  throw new SkerryError(
    'invalid-argument',
    `Dockerfile line ${line}: the URL has no file name: write one at the end of the destination`,
  );
}

/** A trigger of the image that a stage starts from. */
function parseTrigger(text: string, line: number, image: string): StageInstruction {
  try {
    const [instruction] = parseDockerfile(`FROM scratch\n${text}`).stages[0]?.instructions ?? [];
    if (instruction) return { ...instruction, line };
  } catch (error) {
    if (!(error instanceof SkerryError)) throw error;
    const why = error.message.replace(/^Dockerfile line \d+: /, '');
    throw new SkerryError(error.code, `Dockerfile line ${line}: an ONBUILD of ${image}: ${why}`, {
      cause: error,
    });
  }
  throw new SkerryError('invalid-argument', `Dockerfile line ${line}: an ONBUILD of ${image} is empty`);
}
