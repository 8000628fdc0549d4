/** Configurations of images as others write them: https://github.com/opencontainers/image-spec/blob/main/config.md */
import { z } from 'zod';
import { SkerryError } from '../../errors/skerry-error.ts';
import { emptyImageConfig, type Healthcheck, type ImageConfig } from '../image.ts';

/** What a file of an image may hold that is parsed: manifests and configurations. The specification recommends registries to take 4 MiB. */
export const MAX_JSON_BYTES = 4 << 20;
export const MAX_LAYERS = 500;

/** A step in somebody else's words; it has a layer unless it says that it changed no file. */
export interface ForeignStep {
  readonly text: string;
  readonly atMs: number;
  readonly changedFiles: boolean;
}

export interface ForeignConfig {
  readonly config: ImageConfig;
  readonly history: readonly ForeignStep[];
  /** Digests of the layers as tar archives, lowest first. */
  readonly diffIds: readonly string[];
  /** As in `linux/arm64`; undefined where the image does not say. */
  readonly architecture: string | undefined;
}

const strings = z.array(z.string()).nullish();
const count = z.number().nullish();
const schema = z.object({
  architecture: z.string().nullish(),
  author: z.string().nullish(),
  config: z
    .object({
      Env: strings,
      Cmd: strings,
      Entrypoint: strings,
      Shell: strings,
      WorkingDir: z.string().nullish(),
      User: z.string().nullish(),
      StopSignal: z.string().nullish(),
      OnBuild: strings,
      Labels: z.record(z.string(), z.string()).nullish(),
      ExposedPorts: z.record(z.string(), z.unknown()).nullish(),
      Volumes: z.record(z.string(), z.unknown()).nullish(),
      Healthcheck: z
        .object({
          ...{ Test: strings, Retries: count },
          ...{ Interval: count, Timeout: count, StartPeriod: count, StartInterval: count },
        })
        .nullish(),
    })
    .nullish(),
  rootfs: z.object({ diff_ids: z.array(z.string()).max(MAX_LAYERS).nullish() }).nullish(),
  history: z
    .array(
      z.object({
        created: z.string().nullish(),
        created_by: z.string().nullish(),
        comment: z.string().nullish(),
        empty_layer: z.boolean().nullish(),
      }),
    )
    .max(10_000)
    .nullish(),
});

/** @throws SkerryError `image-build-failed` for what is none */
export function parseConfig(json: unknown): ForeignConfig {
  const parsed = schema.safeParse(json);
  if (!parsed.success) throw notAnImage(z.prettifyError(parsed.error));
  const { config, history, rootfs, architecture, author } = parsed.data;
  const volumes = Object.keys(config?.Volumes ?? {});
  return {
    config: {
      env: Object.fromEntries((config?.Env ?? []).map(splitPair)),
      workdir: config?.WorkingDir || '/',
      user: config?.User ?? '',
      entrypoint: config?.Entrypoint ?? [],
      cmd: config?.Cmd ?? [],
      shell: config?.Shell ?? emptyImageConfig.shell,
      labels: config?.Labels ?? {},
      exposedPorts: Object.keys(config?.ExposedPorts ?? {}).flatMap(exposedPort),
      ...(config?.StopSignal && { stopSignal: config.StopSignal }),
      ...(config?.OnBuild && config.OnBuild.length > 0 && { onBuild: config.OnBuild }),
      ...(volumes.length > 0 && { volumes }),
      ...(config?.Healthcheck && { healthcheck: healthcheck(config.Healthcheck) }),
      ...(author && { author }),
    },
    history: (history ?? []).map((step) => ({
      text: step.created_by || step.comment || '',
      atMs: Date.parse(step.created ?? '') || 0,
      changedFiles: step.empty_layer !== true,
    })),
    diffIds: rootfs?.diff_ids ?? [],
    architecture: architecture ?? undefined,
  };
}

function splitPair(pair: string): [string, string] {
  const at = pair.indexOf('=');
  return at < 0 ? [pair, ''] : [pair.slice(0, at), pair.slice(at + 1)];
}

/** `80` and `80/tcp` as a number, `53/udp` as it is; nothing of what is no port. */
function exposedPort(text: string): (number | string)[] {
  const [, digits, protocol = 'tcp'] = /^(\d{1,5})(?:\/(tcp|udp|sctp))?$/.exec(text) ?? [];
  const port = Number(digits);
  if (!(port >= 1 && port <= 65_535)) return [];
  return [protocol === 'tcp' ? port : `${port}/${protocol}`];
}

type Checked = NonNullable<NonNullable<z.infer<typeof schema>['config']>['Healthcheck']>;

/** Docker's names for the numbers of a health check, and ours. */
const NUMBERS = [
  ['Interval', 'intervalNs'],
  ['Timeout', 'timeoutNs'],
  ['StartPeriod', 'startPeriodNs'],
  ['StartInterval', 'startIntervalNs'],
  ['Retries', 'retries'],
] as const;

function healthcheck(check: Checked): Healthcheck {
  const numbers = NUMBERS.flatMap(([theirs, ours]) => (check[theirs] ? [[ours, check[theirs]]] : []));
  return { test: check.Test ?? [], ...Object.fromEntries(numbers) };
}

/** The other way. @param history undefined where it does not fit the layers */
export function formatConfig(image: {
  readonly config: ImageConfig;
  readonly architecture: string;
  readonly createdAtMs: number;
  readonly diffIds: readonly string[];
  readonly history: readonly ForeignStep[] | undefined;
}): object {
  const { config } = image;
  return {
    created: new Date(image.createdAtMs).toISOString(),
    ...(config.author !== undefined && { author: config.author }),
    architecture: image.architecture,
    os: 'linux',
    config: {
      Env: Object.entries(config.env).map(([name, value]) => `${name}=${value}`),
      WorkingDir: config.workdir,
      User: config.user,
      ...(config.entrypoint.length > 0 && { Entrypoint: config.entrypoint }),
      ...(config.cmd.length > 0 && { Cmd: config.cmd }),
      ...(config.onBuild && { OnBuild: config.onBuild }),
      // Docker's own field, as the one before, which others leave alone.
      ...(config.shell.join('\0') !== emptyImageConfig.shell.join('\0') && { Shell: config.shell }),
      Labels: config.labels,
      ExposedPorts: Object.fromEntries(
        config.exposedPorts.map((port) => [typeof port === 'number' ? `${port}/tcp` : port, {}]),
      ),
      ...(config.stopSignal !== undefined && { StopSignal: config.stopSignal }),
      ...(config.volumes && { Volumes: Object.fromEntries(config.volumes.map((path) => [path, {}])) }),
      ...(config.healthcheck && { Healthcheck: formatHealthcheck(config.healthcheck) }),
    },
    rootfs: { type: 'layers', diff_ids: image.diffIds },
    ...(image.history && {
      history: image.history.map(({ text, atMs, changedFiles }) => ({
        created: new Date(atMs).toISOString(),
        created_by: text,
        ...(!changedFiles && { empty_layer: true }),
      })),
    }),
  };
}

function formatHealthcheck(check: Healthcheck): object {
  const numbers = NUMBERS.flatMap(([theirs, ours]) => (check[ours] ? [[theirs, check[ours]]] : []));
  return { ...(check.test.length > 0 && { Test: check.test }), ...Object.fromEntries(numbers) };
}

export const notAnImage = (why: string): SkerryError =>
  new SkerryError('image-build-failed', `the image is not one: ${why}`);
