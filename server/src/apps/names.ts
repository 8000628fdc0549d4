/**
 * What names and tags may look like, whoever gives them. The official clients have the same rule for names; a hand-written client is held to it here. Their
 * rule for tags is stricter.
 */
import { SkerryError } from '../errors/skerry-error.ts';
import { clip } from '../platform/text.ts';

const objectName = /^[A-Za-z0-9._-]{1,64}$/;
const appIdShape = /^ap-[A-Za-z0-9]{22}$/;
const environmentName = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/;
const maxTags = 64;
const maxTagKey = 128;
const maxTagValue = 1024;

/** True for text that the clients take for an app id instead of a name. */
export const isAppId = (text: string): boolean => appIdShape.test(text);

/** The rule for names of apps, secrets, images, sandboxes and containers: 1 to 64 of `[A-Za-z0-9._-]`, not of an app id's shape. */
export const isObjectName = (name: string): boolean => objectName.test(name) && !isAppId(name);

/** @param what the kind of object, or the field @throws SkerryError `invalid-argument` for what is no object's name */
export function checkObjectName(what: string, name: string): void {
  if (isObjectName(name)) return;
  throw new SkerryError(
    'invalid-argument',
    `Invalid ${what} '${clip(name)}': a name has 1 to 64 letters, digits, dots, dashes and underscores, and does not look like an app id.`,
  );
}

/**
 * 1 to 64 of `[A-Za-z0-9_-]`, the first a letter or digit, not starting with `en-`.
 * @throws SkerryError `invalid-argument`
 */
export function checkEnvironmentName(name: string): void {
  if (environmentName.test(name) && !name.toLowerCase().startsWith('en-')) return;
  throw new SkerryError(
    'invalid-argument',
    `Invalid environment name '${clip(name)}': use 1 to 64 letters, digits, dashes and underscores, starting with a letter or digit and not with 'en-'.`,
  );
}

/** At most 64 tags, keys of 1 to 128 and values of at most 1024 characters, none of them NUL. @throws SkerryError `invalid-argument` */
export function checkTags(tags: Readonly<Record<string, string>>): void {
  const entries = Object.entries(tags);
  if (entries.length > maxTags) {
    throw new SkerryError('invalid-argument', `At most ${maxTags} tags are allowed, got ${entries.length}.`);
  }
  for (const [key, value] of entries) {
    const fits = key.length >= 1 && key.length <= maxTagKey && value.length <= maxTagValue;
    if (!fits || `${key}${value}`.includes('\0')) {
      throw new SkerryError(
        'invalid-argument',
        `Invalid tag '${clip(key)}': keys have 1 to ${maxTagKey} characters, values at most ${maxTagValue}, and none is NUL.`,
      );
    }
  }
}
