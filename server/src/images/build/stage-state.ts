/** What a stage has come to after some of its instructions, and how the instructions that touch no file change it. */
import { posix } from 'node:path';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { LayerId } from '../../ids.ts';
import { expandWord, type Lookup, type Quotes } from '../dockerfile/expand.ts';
import type { ArgInstruction, Command, Instruction } from '../dockerfile/instruction.ts';
import { emptyImageConfig, type ImageConfig } from '../image.ts';
import { checkStopSignal } from '../stop-signal.ts';

const MAX_TRIGGERS = 100;

export interface StageState {
  readonly layers: readonly LayerId[];
  readonly config: ImageConfig;
  /** What ARG set: of it and ENV the later counts, so what ENV sets is taken out of it. */
  readonly args: Readonly<Record<string, string>>;
  /** Whether this Dockerfile gave a CMD: then ENTRYPOINT does not clear it. */
  readonly cmdSet: boolean;
}

/** Values that ARG takes when the Dockerfile gives none of its own. */
export interface ArgValues {
  readonly buildArgs: Readonly<Record<string, string>>;
  /** ARGs before the first FROM. */
  readonly global: Readonly<Record<string, string>>;
  readonly platform: Readonly<Record<string, string>>;
}

/** `TARGETARCH` and so on: https://docs.docker.com/reference/dockerfile/#automatic-platform-args-in-the-global-scope */
export function platformArgs(nodeArch: string): Record<string, string> {
  const arch = nodeArch === 'x64' ? 'amd64' : nodeArch;
  const values = { PLATFORM: `linux/${arch}`, OS: 'linux', ARCH: arch, VARIANT: '' };
  return Object.fromEntries(
    Object.entries(values).flatMap(([name, value]) => [
      [`TARGET${name}`, value],
      [`BUILD${name}`, value],
    ]),
  );
}

const get = (values: Readonly<Record<string, string>>, name: string): string | undefined =>
  Object.hasOwn(values, name) ? values[name] : undefined;

export const lookupIn =
  ({ config, args }: StageState): Lookup =>
  (name) =>
    get(args, name) ?? get(config.env, name);

/** Expands a word of an instruction. @throws SkerryError `invalid-argument` naming the line */
export function expandAt(
  line: number,
  word: string,
  lookup: Lookup,
  escapeChar: string,
  quotes: Quotes = 'removed',
): string {
  try {
    return expandWord(word, lookup, escapeChar, quotes);
  } catch (error) {
    if (!(error instanceof SkerryError)) throw error;
    throw new SkerryError(error.code, `Dockerfile line ${line}: ${error.message}`, { cause: error });
  }
}

/** The values of the ARGs before the first FROM. */
export function globalArgValues(
  instructions: readonly ArgInstruction[],
  values: Omit<ArgValues, 'global'>,
  escapeChar: string,
): Record<string, string> {
  let known: Record<string, string> = { ...values.platform };
  for (const { args, line } of instructions) {
    for (const { name, value } of args) {
      const result =
        get(values.buildArgs, name) ??
        (value === undefined ? undefined : expandAt(line, value, (each) => get(known, each), escapeChar));
      if (result !== undefined) known = { ...known, [name]: result };
    }
  }
  return known;
}

/** Applies an instruction that changes no file. RUN, COPY and the directory of WORKDIR are the builder's. */
export function applyMetadata(
  state: StageState,
  instruction: Instruction,
  values: ArgValues,
  escapeChar: string,
): StageState {
  const { line } = instruction;
  const lookup = lookupIn(state);
  const expand = (word: string) => expandAt(line, word, lookup, escapeChar);
  const configured = (change: Partial<ImageConfig>): StageState => ({
    ...state,
    config: { ...state.config, ...change },
  });
  switch (instruction.kind) {
    case 'env': {
      const set = withPairs({}, instruction.pairs, expand, line);
      const args = Object.entries(state.args).filter(([name]) => !Object.hasOwn(set, name));
      return {
        ...configured({ env: { ...state.config.env, ...set } }),
        args: Object.fromEntries(args),
      };
    }
    case 'label':
      return configured({ labels: withPairs(state.config.labels, instruction.pairs, expand, line) });
    case 'arg':
      return { ...state, args: withArgs(state, instruction, values, escapeChar) };
    case 'workdir':
      return configured({ workdir: posix.resolve(state.config.workdir, expand(instruction.value)) });
    case 'user':
      return configured({ user: expand(instruction.value) });
    case 'stopsignal':
      return configured({ stopSignal: stopSignal(expand(instruction.value), line) });
    case 'shell':
      return configured({ shell: instruction.argv.length === 0 ? emptyImageConfig.shell : instruction.argv });
    case 'entrypoint':
      return configured({
        entrypoint: toArgv(instruction.command, state.config.shell),
        // A CMD of the base was meant for the base's entrypoint.
        cmd: state.cmdSet ? state.config.cmd : [],
      });
    case 'cmd':
      return { ...configured({ cmd: toArgv(instruction.command, state.config.shell) }), cmdSet: true };
    case 'expose': {
      const ports = instruction.ports.flatMap((port) => parsePorts(expand(port), line));
      return configured({ exposedPorts: [...new Set([...state.config.exposedPorts, ...ports])] });
    }
    case 'volume': {
      const paths = instruction.paths.map(expand);
      if (paths.some((path) => path.trim() === ''))
        throw new SkerryError('invalid-argument', `Dockerfile line ${line}: a VOLUME has no directory`);
      return configured({ volumes: [...new Set([...(state.config.volumes ?? []), ...paths])] });
    }
    case 'healthcheck':
      return configured({ healthcheck: instruction.healthcheck });
    case 'maintainer':
      return configured({ author: instruction.value });
    case 'onbuild':
      return configured({
        onBuild: [...(state.config.onBuild ?? []), instruction.trigger].slice(0, MAX_TRIGGERS),
      });
    case 'from':
    case 'run':
    case 'copy':
      return state;
    default:
      return instruction satisfies never;
  }
}

/** The argument vector of a command; shell form runs under the image's shell. */
export function toArgv(command: Command, shell: readonly string[]): readonly string[] {
  return command.form === 'exec' ? command.argv : [...shell, command.text];
}

function withPairs(
  old: Readonly<Record<string, string>>,
  pairs: readonly (readonly [string, string])[],
  expand: (word: string) => string,
  line: number,
): Record<string, string> {
  const added = pairs.map(([name, value]): [string, string] => {
    const key = expand(name);
    if (key === '' || /[=\0]/.test(key))
      throw new SkerryError(
        'invalid-argument',
        `Dockerfile line ${line}: \`${name.slice(0, 80)}\` cannot be a name`,
      );
    return [key, expand(value)];
  });
  return { ...old, ...Object.fromEntries(added) };
}

function withArgs(state: StageState, { args, line }: ArgInstruction, values: ArgValues, escapeChar: string) {
  let known = state.args;
  for (const { name, value } of args) {
    const lookup = lookupIn({ ...state, args: known });
    const result =
      get(values.buildArgs, name) ??
      (value === undefined
        ? (get(values.global, name) ?? get(values.platform, name))
        : expandAt(line, value, lookup, escapeChar));
    if (result !== undefined) known = { ...known, [name]: result };
  }
  return known;
}

function stopSignal(text: string, line: number): string {
  checkStopSignal(text, (problem) => {
    throw new SkerryError('invalid-argument', `Dockerfile line ${line}: ${problem}`);
  });
  return text;
}

/** `80`, `80/tcp`, `8000-8010/udp` */
function parsePorts(text: string, line: number): (number | string)[] {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?(?:\/(tcp|udp|sctp))?$/i.exec(text);
  const first = Number(match?.[1] ?? 0);
  const last = Number(match?.[2] ?? first);
  if (first < 1 || last > 65_535 || last < first) {
    throw new SkerryError(
      'invalid-argument',
      `Dockerfile line ${line}: \`${text.slice(0, 80)}\` is not a port`,
    );
  }
  const protocol = match?.[3]?.toLowerCase() ?? 'tcp';
  return Array.from({ length: last - first + 1 }, (_, index) =>
    protocol === 'tcp' ? first + index : `${first + index}/${protocol}`,
  );
}
