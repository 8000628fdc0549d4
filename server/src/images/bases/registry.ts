/** Images of registries, fetched with skopeo: https://github.com/containers/skopeo/blob/main/docs/skopeo-copy.1.md */
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { SkerryError } from '../../errors/skerry-error.ts';
import { run } from '../../platform/command.ts';
import { withinRoom } from '../../platform/room-watch.ts';
import { withDeadline } from '../../platform/wait.ts';
import { emptyImageConfig, type ImageConfig, type RegistryCredentials } from '../image.ts';
import { formatReference, type Reference } from './reference.ts';
import { type RegistryFailure, understandFailure } from './registry-failure.ts';
import { RegistryGate } from './registry-gate.ts';
import { AddressRefused, hostOf, type ReachOptions, RegistryReach } from './registry-reach.ts';

/** A registry that did not answer is not asked again for this long, so that not every build waits for it. */
const UNREACHABLE_FOR_MS = 5 * 60_000;
const PULL_TIMEOUT_MS = 30 * 60_000;
/** Manifests and configurations; the image specification recommends registries to accept 4 MiB. */
const MAX_JSON = 4 << 20;

export interface RegistryOptions {
  /** Hosts asked before Docker Hub; `registry=host` names a mirror of another registry. */
  readonly mirrors: readonly string[];
  readonly insecure: readonly string[];
  /** Hosts and IPv4 networks that images may come from though they are not public; the mirrors and the insecure ones may always. */
  readonly allowed: readonly string[];
  /** Looks names up in place of the system's resolver, for tests. */
  readonly lookup?: ReachOptions['lookup'];
  /** What the compressed layers of one image may take. */
  readonly maxImageBytes: number;
  readonly timeoutMs: number;
  readonly clock: () => number;
}

/** A fetched image: compressed layers in files, lowest first. */
export interface PulledImage {
  /** `digest` of the compressed blob. */
  readonly layers: readonly { readonly digest: string; readonly file: string }[];
  readonly config: ImageConfig;
}

export type PullResult =
  | { readonly kind: 'pulled'; readonly image: PulledImage; readonly from: string }
  /** No registry gave it; one reason per registry asked. `answered` when one of them said no, instead of being out of reach. */
  | { readonly kind: 'failed'; readonly answered: boolean; readonly reasons: readonly string[] };

const descriptor = z.object({
  digest: z.string().regex(/^sha256:[0-9a-f]{64}$/),
  mediaType: z.string().optional(),
});
const indexSchema = z.object({ manifests: z.array(descriptor).length(1) });
const manifestSchema = z.object({ config: descriptor, layers: z.array(descriptor).max(500) });
const strings = z.array(z.string()).nullish();
/** https://github.com/opencontainers/image-spec/blob/main/config.md */
const configSchema = z.object({
  config: z
    .object({
      Env: strings,
      Cmd: strings,
      Entrypoint: strings,
      Shell: strings,
      WorkingDir: z.string().nullish(),
      User: z.string().nullish(),
      StopSignal: z.string().nullish(),
      Labels: z.record(z.string(), z.string()).nullish(),
      ExposedPorts: z.record(z.string(), z.unknown()).nullish(),
    })
    .nullish(),
});

export class Registry {
  readonly #options: RegistryOptions;
  readonly #unreachableUntil = new Map<string, number>();
  readonly #reach: RegistryReach;

  /** @throws SkerryError `invalid-argument` when an allowed network is none */
  constructor(options: RegistryOptions) {
    this.#options = options;
    const { mirrors, insecure, allowed, lookup } = options;
    const named = [...insecure, ...mirrors.map((entry) => mirrorOf(entry).host)];
    this.#reach = new RegistryReach({ named, allowed, ...(lookup && { lookup }) });
  }

  /**
   * Fetches an image for this machine's architecture into `workspace`, an empty directory of the caller.
   * @throws SkerryError `disk-full`; `image-build-failed` for an image that is not one
   */
  async pull(
    reference: Reference,
    credentials: RegistryCredentials | undefined,
    workspace: string,
    signal: AbortSignal,
  ): Promise<PullResult> {
    const reasons: string[] = [];
    let answered = false;
    for (const candidate of this.#candidates(reference)) {
      const until = this.#unreachableUntil.get(candidate.registry) ?? 0;
      if (this.#options.clock() < until) {
        reasons.push(`${candidate.registry}: it could not be reached a short time ago`);
        continue;
      }
      const failure = await this.#copy(
        candidate,
        candidate.registry === reference.registry ? credentials : undefined,
        workspace,
        signal,
      );
      if (failure === undefined)
        return {
          kind: 'pulled',
          image: await readLayout(join(workspace, 'oci')),
          from: formatReference(candidate),
        };
      reasons.push(`${candidate.registry}: ${failure.message}`);
      if (failure.answered) answered = true;
      else this.#unreachableUntil.set(candidate.registry, this.#options.clock() + UNREACHABLE_FOR_MS);
    }
    return { kind: 'failed', answered, reasons };
  }

  /** The mirrors of the reference's registry, then the registry itself. */
  #candidates(reference: Reference): Reference[] {
    const hosts = this.#options.mirrors
      .map(mirrorOf)
      .filter(({ of }) => of === reference.registry)
      .map(({ host }) => host);
    return [...hosts, reference.registry].map((registry) => ({ ...reference, registry }));
  }

  /** @returns undefined when it worked */
  async #copy(
    reference: Reference,
    credentials: RegistryCredentials | undefined,
    workspace: string,
    signal: AbortSignal,
  ): Promise<RegistryFailure | undefined> {
    const tls = this.#options.insecure.includes(reference.registry) ? ['--tls-verify=false'] : [];
    const authFile = join(workspace, 'auth.json');
    // A file that only we can read: command lines are visible to every user of the machine.
    await writeFile(authFile, JSON.stringify(authConfig(reference.registry, credentials)), { mode: 0o600 });
    const source = `docker://${formatReference(reference)}`;
    const common = { signal, env: skopeoEnvironment(workspace) };
    const way = await this.#wayTo(reference.registry, signal);
    if ('message' in way) return way;
    await using gate = way.gated ? await RegistryGate.open(this.#reach) : undefined;
    const behind = (argv: readonly [string, ...string[]]) => (gate ? gate.behind(argv) : argv);
    try {
      // Quick and small, to tell a registry that does not answer from one that takes long to send layers.
      await run(behind(['skopeo', 'inspect', '--raw', `--authfile=${authFile}`, ...tls, source]), {
        ...common,
        timeoutMs: this.#options.timeoutMs,
      });
      const srcTls = tls.map((flag) => flag.replace('--', '--src-'));
      const most = { bytes: this.#options.maxImageBytes, otherwise: () => this.#tooLarge() };
      await withinRoom({ directory: workspace, most, signal }, (signal) =>
        run(
          behind([
            'skopeo',
            '--override-os=linux',
            'copy',
            '--quiet',
            `--src-authfile=${authFile}`,
            ...srcTls,
            source,
            `oci:${join(workspace, 'oci')}:image`,
          ]),
          { ...common, signal, timeoutMs: PULL_TIMEOUT_MS },
        ),
      );
      return undefined;
    } catch (error) {
      const failure = understand(error, reference);
      return gate?.refused === undefined ? failure : { answered: true, message: gate.refused };
    }
  }

  #tooLarge(): SkerryError {
    const words = `the image takes more than ${this.#options.maxImageBytes >> 20} MiB (buildDiskMiB)`;
    return new SkerryError('image-build-failed', words);
  }

  /** How the registry may be spoken to; what keeps it from being. */
  async #wayTo(
    registry: string,
    signal: AbortSignal,
  ): Promise<{ readonly gated: boolean } | RegistryFailure> {
    if (this.#reach.trusts(registry)) return { gated: false };
    try {
      await withDeadline(this.#reach.addresses(hostOf(registry)), this.#options.timeoutMs, signal);
    } catch (error) {
      if (error instanceof AddressRefused) return { answered: true, message: error.message };
      signal.throwIfAborted();
      // A name that cannot be looked up here: the gate will say so, or the operator's proxy knows it.
    }
    // Behind a proxy it is the proxy that looks names up and decides what is reached.
    return { gated: process.env.HTTPS_PROXY === undefined };
  }
}

/** `host`, a mirror of Docker Hub, or `registry=host`. */
function mirrorOf(entry: string): { readonly of: string; readonly host: string } {
  const at = entry.indexOf('=');
  const host = entry.slice(at + 1).replace(/^https?:\/\//, '');
  return { of: at < 0 ? 'docker.io' : entry.slice(0, at), host };
}

/** https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md */
function authConfig(registry: string, credentials: RegistryCredentials | undefined) {
  if (!credentials) return { auths: {} };
  const auth = Buffer.from(`${credentials.username}:${credentials.password}`).toString('base64');
  return { auths: { [registry === 'docker.io' ? 'https://index.docker.io/v1/' : registry]: { auth } } };
}

function skopeoEnvironment(workspace: string): Record<string, string> {
  const {
    PATH = '/usr/local/bin:/usr/bin:/bin',
    SSL_CERT_FILE,
    SSL_CERT_DIR,
    HTTPS_PROXY,
    HTTP_PROXY,
    NO_PROXY,
  } = process.env;
  const passed = { SSL_CERT_FILE, SSL_CERT_DIR, HTTPS_PROXY, HTTP_PROXY, NO_PROXY };
  const present = Object.entries(passed).filter((entry): entry is [string, string] => entry[1] !== undefined);
  // HOME without a configuration: only the credentials of the request may be used.
  return { PATH, HOME: workspace, TMPDIR: workspace, ...Object.fromEntries(present) };
}

function understand(error: unknown, reference: Reference): RegistryFailure {
  if (!(error instanceof SkerryError) || error.code !== 'internal') throw error;
  const words = String(error.details.stderr ?? error.message);
  if (/no space left on device/i.test(words))
    throw new SkerryError('disk-full', 'the machine is out of disk space', { cause: error });
  const message = error.message.replace(/^unshare /, 'skopeo '); // which was started by it
  return understandFailure(words || message, reference);
}

/** Reads skopeo's `oci:` directory; the image in it is as hostile as anything from a registry. */
async function readLayout(directory: string): Promise<PulledImage> {
  const blob = (digest: string) => join(directory, 'blobs', 'sha256', digest.slice('sha256:'.length));
  const parse = async <T>(file: string, schema: z.ZodType<T>): Promise<T> => {
    const { size } = await stat(file);
    if (size > MAX_JSON)
      throw new SkerryError('image-build-failed', 'the image has a manifest or configuration beyond 4 MiB');
    const result = schema.safeParse(JSON.parse(await readFile(file, 'utf8')));
    if (!result.success)
      throw new SkerryError('image-build-failed', `the image is not one: ${z.prettifyError(result.error)}`);
    return result.data;
  };
  const index = await parse(join(directory, 'index.json'), indexSchema);
  const manifest = await parse(blob(index.manifests[0]?.digest ?? ''), manifestSchema);
  const { config } = await parse(blob(manifest.config.digest), configSchema);
  return {
    layers: manifest.layers.map(({ digest }) => ({ digest, file: blob(digest) })),
    config: {
      env: Object.fromEntries((config?.Env ?? []).map(splitPair)),
      workdir: config?.WorkingDir || '/',
      user: config?.User ?? '',
      entrypoint: config?.Entrypoint ?? [],
      cmd: config?.Cmd ?? [],
      shell: config?.Shell ?? emptyImageConfig.shell,
      labels: config?.Labels ?? {},
      exposedPorts: Object.keys(config?.ExposedPorts ?? {})
        .map((port) => Number.parseInt(port, 10))
        .filter((port) => port >= 1 && port <= 65_535),
      stopSignal: config?.StopSignal || emptyImageConfig.stopSignal,
    },
  };
}

function splitPair(pair: string): [string, string] {
  const at = pair.indexOf('=');
  return at < 0 ? [pair, ''] : [pair.slice(0, at), pair.slice(at + 1)];
}
