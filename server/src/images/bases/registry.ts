/** Images of registries, fetched with skopeo: https://github.com/containers/skopeo/blob/main/docs/skopeo-copy.1.md */
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { SkerryError } from '../../errors/skerry-error.ts';
import { run } from '../../platform/command.ts';
import { emptyImageConfig, type ImageConfig, type RegistryCredentials } from '../image.ts';
import { formatReference, type Reference } from './reference.ts';
import { type RegistryFailure, understandFailure } from './registry-failure.ts';

/** A registry that did not answer is not asked again for this long, so that not every build waits for it. */
const UNREACHABLE_FOR_MS = 5 * 60_000;
const PULL_TIMEOUT_MS = 30 * 60_000;
/** Manifests and configurations; the image specification recommends registries to accept 4 MiB. */
const MAX_JSON = 4 << 20;

export interface RegistryOptions {
  /** Hosts asked before Docker Hub; `registry=host` names a mirror of another registry. */
  readonly mirrors: readonly string[];
  readonly insecure: readonly string[];
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

  constructor(options: RegistryOptions) {
    this.#options = options;
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
    const mirrors = this.#options.mirrors.map((entry) => {
      const at = entry.indexOf('=');
      return at < 0
        ? { of: 'docker.io', host: entry }
        : { of: entry.slice(0, at), host: entry.slice(at + 1) };
    });
    const hosts = mirrors
      .filter(({ of }) => of === reference.registry)
      .map(({ host }) => host.replace(/^https?:\/\//, ''));
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
    try {
      // Quick and small, to tell a registry that does not answer from one that takes long to send layers.
      await run(['skopeo', 'inspect', '--raw', `--authfile=${authFile}`, ...tls, source], {
        ...common,
        timeoutMs: this.#options.timeoutMs,
      });
    } catch (error) {
      return understand(error, reference);
    }
    try {
      const srcTls = tls.map((flag) => flag.replace('--', '--src-'));
      await run(
        [
          'skopeo',
          '--override-os=linux',
          'copy',
          '--quiet',
          `--src-authfile=${authFile}`,
          ...srcTls,
          source,
          `oci:${join(workspace, 'oci')}:image`,
        ],
        { ...common, timeoutMs: PULL_TIMEOUT_MS },
      );
      return undefined;
    } catch (error) {
      return understand(error, reference);
    }
  }
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
  if (!(error instanceof SkerryError)) throw error;
  const words = String(error.details.stderr ?? error.message);
  if (/no space left on device/i.test(words))
    throw new SkerryError('disk-full', 'the machine is out of disk space', { cause: error });
  return understandFailure(words || error.message, reference);
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
