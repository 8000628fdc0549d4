/** What a sandbox is made with, as options of a command. */
import { type Command, InvalidArgumentError } from 'commander';
import type { CreateOptions } from '../../../sdk/src/index.ts';
import {
  DEFAULT_TIMEOUT_SECONDS,
  networkOf,
  pythonImage,
  secondsOf,
  volumeOf,
} from '../../../server/src/local-caller.ts';
import { CliError, ExitStatus } from '../cli-error.ts';

export interface CreateFlags {
  readonly image?: string;
  readonly python?: string;
  readonly net?: string;
  readonly volume: readonly string[];
  readonly env: readonly string[];
  readonly secret: readonly string[];
  readonly port: readonly number[];
  readonly workdir?: string;
  readonly memory?: number;
  readonly cpu?: number;
  readonly gpu?: CreateOptions['gpu'];
  readonly timeout?: number;
  readonly name?: string;
  readonly isolation?: 'gvisor' | 'runc';
}

const collect = (value: string, before: readonly string[]) => [...before, value];
const numberOf = (text: string): number => {
  const value = Number(text);
  if (Number.isFinite(value) && value > 0) return value;
  throw new InvalidArgumentError('It must be a number above 0.');
};

function gpuOf(text: string): CreateOptions['gpu'] {
  const [, type, count = '1'] = /^([\w+-]+)(?::(\d{1,2}))?$/.exec(text) ?? [];
  if (type !== undefined && Number(count) > 0) return { type, count: Number(count) };
  throw new InvalidArgumentError('It must be a type such as H100, or any, with a number as in H100:2.');
}

export function addCreateOptions(command: Command): Command {
  return command
    .option(
      '--image <image>',
      'a registry reference, a published name or an image id (default: the code-interpreter image)',
    )
    .option('--python <version>', 'an image with that Python, such as 3.12')
    .option('--net <policy>', 'open, none, or the only domains it may reach: pypi.org,*.pythonhosted.org')
    .option(
      '--volume <name:path>',
      'a volume at a directory, made when missing; name:path:ro only to read; may be given again',
      collect,
      [],
    )
    .option(
      '-e, --env <NAME=value>',
      'a variable; NAME alone takes it from here; may be given again',
      collect,
      [],
    )
    .option('--secret <name>', 'a stored secret, as variables; may be given again', collect, [])
    .option(
      '--port <number>',
      'open a port to the outside; may be given again',
      (text: string, before: readonly number[]) => [...before, numberOf(text)],
      [],
    )
    .option('-w, --workdir <dir>', 'the working directory of its programs')
    .option('--memory <MiB>', 'how much memory it may use', numberOf)
    .option('--cpu <cores>', 'how much processor it may use', numberOf)
    .option('--gpu <type>', 'a GPU for itself alone: H100, any, or several as any:2', gpuOf)
    .option('--timeout <time>', 'it ends after so long: 90, 90s, 10m, 2h (default: 1h)', seconds)
    .option('--name <name>', 'a name, unique among those that run')
    .option('--isolation <runtime>', 'gvisor or runc');
}

const usageError = (message: string) => new CliError(message, ExitStatus.usage);

/** @throws CliError */
export function createOptions(flags: CreateFlags): CreateOptions {
  if (flags.image !== undefined && flags.python !== undefined) {
    throw usageError('Give --image or --python, not both.');
  }
  return {
    image: flags.python === undefined ? flags.image : pythonImage(flags.python),
    network: networkOf(flags.net ?? 'open'),
    volumes: Object.fromEntries(flags.volume.map(volumeOf)),
    env: variables(flags.env),
    secrets: [...flags.secret],
    ports: [...flags.port],
    workdir: flags.workdir,
    memoryMiB: flags.memory,
    cpu: flags.cpu,
    gpu: flags.gpu,
    timeoutSeconds: flags.timeout ?? DEFAULT_TIMEOUT_SECONDS,
    name: flags.name,
    isolation: flags.isolation,
  };
}

export function variables(given: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    given.map((text): [string, string] => {
      const equals = text.indexOf('=');
      if (equals > 0) return [text.slice(0, equals), text.slice(equals + 1)];
      const value = process.env[text];
      if (value === undefined) throw usageError(`--env ${text}: there is no such variable here.`);
      return [text, value];
    }),
  );
}

/** Whole seconds of a text such as 90, 90s, 10m or 2h. */
export function seconds(text: string): number {
  try {
    return secondsOf(text);
  } catch {
    throw new InvalidArgumentError('It must be a time such as 90, 90s, 10m or 2h.');
  }
}
