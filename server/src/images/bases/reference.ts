/** Image references: `[registry/]repository[:tag][@digest]` with Docker's defaults (distribution/reference, docs.docker.com/reference/cli/docker/image/tag). */
import { SkerryError } from '../../errors/skerry-error.ts';

export interface Reference {
  /** `docker.io` when the reference names none. */
  readonly registry: string;
  /** Docker Hub's own images have `library/` in front. */
  readonly repository: string;
  /** Undefined with a digest only. */
  readonly tag: string | undefined;
  readonly digest: string | undefined;
}

const REGISTRY = /^(localhost|[a-z0-9-]+(\.[a-z0-9-]+)+|[a-z0-9-]+(?=:)|\[[0-9a-f:]+\])(:[0-9]{1,5})?$/i;
const REPOSITORY = /^[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*)*$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;
const DIGEST = /^sha256:[0-9a-f]{64}$/;

/** @throws SkerryError `invalid-argument` for what no registry could hold */
export function parseReference(text: string): Reference {
  const fail = (): never => {
    throw new SkerryError(
      'invalid-argument',
      `\`${text.slice(0, 200)}\` is not an image name such as python:3.12-slim`,
    );
  };
  if (text.length > 512) fail();
  const [name = '', digest] = text.split('@', 2);
  const slash = name.indexOf('/');
  const first = name.slice(0, Math.max(slash, 0));
  const hasRegistry = slash > 0 && (first === 'localhost' || /[.:]/.test(first));
  const rest = hasRegistry ? name.slice(slash + 1) : name;
  const colon = rest.indexOf(':');
  const path = colon < 0 ? rest : rest.slice(0, colon);
  const tag = colon < 0 ? undefined : rest.slice(colon + 1);
  const registry = hasRegistry ? first.replace(/^(index|registry-1)\.docker\.io$/, 'docker.io') : 'docker.io';
  const repository = registry === 'docker.io' && !path.includes('/') ? `library/${path}` : path;
  if (!REGISTRY.test(registry) || !REPOSITORY.test(repository)) fail();
  if ((tag !== undefined && !TAG.test(tag)) || (digest !== undefined && !DIGEST.test(digest))) fail();
  return { registry, repository, tag: tag ?? (digest === undefined ? 'latest' : undefined), digest };
}

/** The one way to write a reference: what skopeo is given and what the cache is keyed by. A digest outranks the tag. */
export function formatReference({ registry, repository, tag, digest }: Reference): string {
  return `${registry}/${repository}${digest === undefined ? `:${tag}` : `@${digest}`}`;
}

/** How people call an image, without what Docker adds: `python:3.12` for `docker.io/library/python:3.12`. Undefined for text that is no reference. */
export function familiarReference(text: string): string | undefined {
  try {
    return formatReference(parseReference(text)).replace(/^docker\.io\/(library\/)?/, '');
  } catch {
    return undefined;
  }
}

/** The same, where text that is no reference stays as it is. */
export const familiarName = (text: string): string => familiarReference(text) ?? text;
