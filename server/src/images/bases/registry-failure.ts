/** What skopeo's words mean: whether the registry said no, or was never reached. The words are of containers/image and of Go's net package. */
import { formatReference, type Reference } from './reference.ts';

export interface RegistryFailure {
  /** The registry said no, instead of being out of reach. */
  readonly answered: boolean;
  /** It said that the caller may not have that, or is nobody it knows. */
  readonly denied?: true;
  readonly message: string;
}

/** Nothing that a registry answers has these words, whatever else is in the text. */
const UNREACHED =
  /\bdial tcp\b|\bproxyconnect tcp\b|no such host|server misbehaving|connection re(fused|set)|i\/o timeout|TLS handshake timeout|(network|host) is unreachable|no route to host|context deadline exceeded|x509: |server gave HTTP response to HTTPS client|: (unexpected )?EOF\b/;

/** @param stderr what skopeo wrote; anything may be in it that the registry or the reference holds */
export function understandFailure(stderr: string, reference: Reference): RegistryFailure {
  const message = /msg="?(.*?)"?\s*$/m.exec(stderr)?.[1]?.replaceAll('\\"', '"') ?? stderr.trim();
  const said = withoutNames(message, reference);
  if (UNREACHED.test(said)) return { answered: false, message: `it cannot be reached (${message})` };
  const status = statusIn(said);
  if (status === 401 || status === 403 || /\b(unauthorized|denied|authentication required)\b/i.test(said))
    return { answered: true, denied: true, message: `access was denied (${message})` };
  if (/no image found in (manifest list|image index)/i.test(said))
    return { answered: true, message: 'the image is not made for this architecture' };
  if (status === 404 || /\b(manifest unknown|name unknown|not found|repository name not known)\b/i.test(said))
    return { answered: true, message: 'it has no such image' };
  return { answered: false, message: `it cannot be reached (${message})` };
}

/** A status where it is said to be one: the number alone may be a port, a tag or part of a digest. */
function statusIn(said: string): number | undefined {
  const found = /\b(?:status(?:[ _]?code)?(?: from registry)?|http code)\b[:"\s]*(\d{3})\b/i.exec(said)?.[1];
  return found === undefined ? undefined : Number(found);
}

/** The text without addresses and without what the caller chose: a repository may be called `denied`. */
function withoutNames(message: string, reference: Reference): string {
  const { registry, repository } = reference;
  const names = [formatReference(reference), `${registry}/${repository}`, repository, registry];
  const bare = message.replaceAll(/\b(https?|docker):\/\/[^\s"]+/g, '');
  return names.reduce((text, name) => text.replaceAll(name, ''), bare);
}
