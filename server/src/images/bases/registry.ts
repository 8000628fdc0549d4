/** Images of registries, fetched and sent with skopeo: https://github.com/containers/skopeo/blob/main/docs/skopeo-copy.1.md */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SkerryError } from '../../errors/skerry-error.ts';
import { type CommandOptions, run } from '../../platform/command.ts';
import type { MachineRoom } from '../../platform/machine-room.ts';
import { withinRoom } from '../../platform/room-watch.ts';
import { delay, withDeadline } from '../../platform/wait.ts';
import type { RegistryCredentials, RegistryLogin } from '../image.ts';
import { type ForeignImage, readLayout } from '../oci/layout.ts';
import { ecrLogin, isEcr } from './ecr.ts';
import { formatReference, type Reference } from './reference.ts';
import { type RegistryFailure, understandFailure } from './registry-failure.ts';
import { RegistryGate } from './registry-gate.ts';
import { AddressRefused, hostOf, type ReachOptions, RegistryReach } from './registry-reach.ts';

/** A registry that did not answer is not asked again for this long, so that not every build waits for it. */
const UNREACHABLE_FOR_MS = 5 * 60_000;
const TRANSFER_TIMEOUT_MS = 30 * 60_000;
/** A connection that breaks while layers are sent is made again so often, after so long, then twice that. */
const TRANSFER_TRIES = 3;
const TRANSFER_PAUSE_MS = 1000;

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
  /** What images may fill of the disk. */
  readonly room: MachineRoom;
  readonly timeoutMs: number;
  /** Of the API that gives the passwords of AWS's registries; absent or empty: AWS's own. */
  readonly ecrEndpoint?: string;
  readonly clock: () => number;
}

export type PullResult =
  | { readonly kind: 'pulled'; readonly image: ForeignImage; readonly from: string }
  /** No registry gave it; one reason per registry asked. `answered` when one of them said no, instead of being out of reach. */
  | {
      readonly kind: 'failed';
      readonly answered: boolean;
      /** One of those that were asked wants a login, or another one. */
      readonly denied: boolean;
      readonly reasons: readonly string[];
    };

export class Registry {
  readonly #options: RegistryOptions;
  readonly #unreachableUntil = new Map<string, number>();
  /** Where images may come from. */
  readonly reach: RegistryReach;

  /** @throws SkerryError `invalid-argument` when an allowed network is none */
  constructor(options: RegistryOptions) {
    this.#options = options;
    const { mirrors, insecure, allowed, lookup } = options;
    const named = [...insecure, ...mirrors.map((entry) => mirrorOf(entry).host)];
    this.reach = new RegistryReach({ named, allowed, ...(lookup && { lookup }) });
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
    let [answered, denied] = [false, false];
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
      denied ||= failure.denied === true;
      if (failure.answered) answered = true;
      else this.#unreachableUntil.set(candidate.registry, this.#options.clock() + UNREACHABLE_FOR_MS);
    }
    return { kind: 'failed', answered, denied, reasons };
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
    const { room, maxImageBytes: bytes } = this.#options;
    const most = { directory: workspace, bytes, otherwise: () => this.#tooLarge() };
    const source = `docker://${formatReference(reference)}`;
    return this.#speak(
      reference,
      credentials,
      workspace,
      signal,
      async ({ skopeo, inspect, failed, authFile, tls }) => {
        // To tell a registry that does not answer from one that takes long to send layers.
        await inspect();
        const to = `oci:${join(workspace, 'oci')}:image`;
        const copy = ['copy', '--quiet', `--src-authfile=${authFile}`, ...tls('src-'), source, to];
        await withinRoom({ room, most, signal }, (signal) =>
          transferred(failed, signal, () =>
            skopeo(['--override-os=linux', ...copy], { signal, timeoutMs: TRANSFER_TIMEOUT_MS }),
          ),
        );
      },
    );
  }

  /** Whether the registry has an image of that name. What keeps it from saying so counts as no. @throws the signal's reason */
  async has(
    reference: Reference,
    credentials: RegistryCredentials | undefined,
    workspace: string,
    signal: AbortSignal,
  ): Promise<boolean> {
    const failure = await this.#speak(reference, credentials, workspace, signal, ({ inspect }) => inspect());
    return failure === undefined;
  }

  /**
   * Sends the image in a directory by the OCI image layout.
   * @param workspace a directory of the caller for temporary files
   * @throws SkerryError `permission-denied` when the registry says no, `unavailable` when it does not answer
   */
  async push(
    layout: string,
    reference: Reference,
    credentials: RegistryCredentials | undefined,
    workspace: string,
    signal: AbortSignal,
  ): Promise<void> {
    const failure = await this.#speak(
      ...[reference, credentials, workspace, signal],
      ({ skopeo, authFile, tls }) => {
        const to = `docker://${formatReference(reference)}`;
        const copy = ['copy', '--quiet', `--dest-authfile=${authFile}`, ...tls('dest-'), `oci:${layout}`, to];
        return skopeo(copy, { signal, timeoutMs: TRANSFER_TIMEOUT_MS });
      },
    );
    if (failure === undefined) return;
    const { answered, message } = failure;
    throw new SkerryError(
      answered ? 'permission-denied' : 'unavailable',
      `${reference.registry}: ${message}`,
    );
  }

  /** Runs skopeo with the credentials, where a registry that nobody named cannot lead it elsewhere. @returns undefined when it worked */
  async #speak(
    { registry, ...rest }: Reference,
    credentials: RegistryCredentials | undefined,
    workspace: string,
    signal: AbortSignal,
    work: (tools: {
      readonly skopeo: (args: readonly string[], options: CommandOptions) => Promise<void>;
      /** Asks for the manifest, which is quick and small. */
      readonly inspect: () => Promise<void>;
      /** What its failure means. @throws what is none of the registry's */
      readonly failed: (error: unknown) => RegistryFailure;
      readonly authFile: string;
      /** The flags for a registry without TLS, if this is one; `src-` and `dest-` say which side. */
      readonly tls: (side: string) => readonly string[];
    }) => Promise<void>,
  ): Promise<RegistryFailure | undefined> {
    const login = await this.#login(registry, credentials, signal);
    if (login && 'message' in login) return login;
    const authFile = join(workspace, 'auth.json');
    // A file that only we can read: command lines are visible to every user of the machine.
    await writeFile(authFile, JSON.stringify(authConfig(registry, login)), { mode: 0o600 });
    const way = await this.#wayTo(registry, signal);
    if ('message' in way) return way;
    await using gate = way.gated ? await RegistryGate.open(this.reach) : undefined;
    const behind = (argv: readonly [string, ...string[]]) => (gate ? gate.behind(argv) : argv);
    const failed = (error: unknown): RegistryFailure => {
      const failure = understand(error, { registry, ...rest });
      return gate?.refused === undefined ? failure : { answered: true, message: gate.refused };
    };
    const { insecure, timeoutMs } = this.#options;
    const skopeo = async (args: readonly string[], options: CommandOptions): Promise<void> => {
      await run(behind(['skopeo', ...args]), { ...options, env: skopeoEnvironment(workspace) });
    };
    const tls = (side: string) => (insecure.includes(registry) ? [`--${side}tls-verify=false`] : []);
    const source = `docker://${formatReference({ registry, ...rest })}`;
    const inspect = () =>
      skopeo(['inspect', '--raw', `--authfile=${authFile}`, ...tls(''), source], { signal, timeoutMs });
    try {
      await work({ skopeo, inspect, failed, authFile, tls });
      return undefined;
    } catch (error) {
      return failed(error);
    }
  }

  /** A password of AWS is told to its registries alone, and to those that the operator named. */
  async #login(
    registry: string,
    credentials: RegistryCredentials | undefined,
    signal: AbortSignal,
  ): Promise<RegistryLogin | RegistryFailure | undefined> {
    if (!credentials || !('region' in credentials)) return credentials;
    if (!isEcr(registry) && !this.reach.trusts(registry)) {
      const where = '<account>.dkr.ecr.<region>.amazonaws.com';
      return { answered: true, message: `it is no private registry of AWS, which are at ${where}` };
    }
    return ecrLogin(credentials, this.#options.ecrEndpoint, this.#options.timeoutMs, signal);
  }

  #tooLarge(): SkerryError {
    const words = `the image takes more than ${this.#options.maxImageBytes / 2 ** 20} MiB (buildDiskMiB)`;
    return new SkerryError('image-build-failed', words);
  }

  /** How the registry may be spoken to; what keeps it from being. */
  async #wayTo(
    registry: string,
    signal: AbortSignal,
  ): Promise<{ readonly gated: boolean } | RegistryFailure> {
    if (this.reach.trusts(registry)) return { gated: false };
    try {
      await withDeadline(this.reach.addresses(hostOf(registry)), this.#options.timeoutMs, signal);
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
export function authConfig(registry: string, credentials: RegistryLogin | undefined) {
  if (!credentials) return { auths: {} };
  const auth = Buffer.from(`${credentials.username}:${credentials.password}`).toString('base64');
  return { auths: { [authKey(registry)]: { auth } } };
}

/** What a file of credentials calls a registry. */
export const authKey = (registry: string): string =>
  registry === 'docker.io' ? 'https://index.docker.io/v1/' : registry;

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

/** Layers that are whole stay in the directory they are copied to, and are not fetched by the next try. */
async function transferred(
  failed: (error: unknown) => RegistryFailure,
  signal: AbortSignal,
  transfer: () => Promise<void>,
): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      await transfer();
      return;
    } catch (error) {
      if (tries === TRANSFER_TRIES || failed(error).answered) throw error;
      await delay(tries * TRANSFER_PAUSE_MS, signal);
    }
  }
}

function understand(error: unknown, reference: Reference): RegistryFailure {
  if (!(error instanceof SkerryError) || error.code !== 'internal') throw error;
  const words = String(error.details.stderr ?? error.message);
  if (/no space left on device/i.test(words))
    throw new SkerryError('disk-full', 'the machine is out of disk space', { cause: error });
  const message = error.message.replace(/^unshare /, 'skopeo '); // which was started by it
  return understandFailure(words || message, reference);
}
