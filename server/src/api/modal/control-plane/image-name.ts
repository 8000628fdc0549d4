/** Names that images are published under: `[[workspace/]environment/]name[:tag]` on the wire. */
import { checkObjectName } from '../../../apps/names.ts';
import { SkerryError } from '../../../errors/skerry-error.ts';
import { clip } from '../../../platform/text.ts';

const DEFAULT_TAG = 'latest';

/**
 * The one form a published name is stored in: `name:tag` in the default environment, `environment/name:tag` in the others.
 * @param fallbackEnvironment applies where the name has no prefix; '' is the default environment
 * @param resolve the environment's own name and whether it is the default one; throws `not-found`
 * @throws SkerryError `invalid-argument`, `not-found`
 */
export function canonicalImageName(
  text: string,
  fallbackEnvironment: string,
  resolve: (environment: string) => { readonly name: string; readonly isDefault: boolean },
): string {
  const parts = text.split('/');
  if (parts.length > 3) throw new SkerryError('invalid-argument', `Invalid image name '${clip(text)}'.`);
  const [name = '', tag = DEFAULT_TAG, ...rest] = (parts.at(-1) ?? '').split(':');
  if (rest.length > 0 || name.startsWith('im-')) {
    throw new SkerryError(
      'invalid-argument',
      `Invalid image name '${clip(text)}': use name:tag, where the name does not start with 'im-'.`,
    );
  }
  checkObjectName('image name', name);
  checkObjectName('image tag', tag);
  const environment = resolve(parts.at(-2) ?? fallbackEnvironment);
  return `${imageNamePrefix(environment)}${name}:${tag}`;
}

/** What the stored names of an environment begin with. */
export const imageNamePrefix = (environment: {
  readonly name: string;
  readonly isDefault: boolean;
}): string => (environment.isDefault ? '' : `${environment.name}/`);
