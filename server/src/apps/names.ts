/** What names and tags may look like. The same rules hold in the official clients; a hand-written client is held to them here. */
import { SkerryError } from '../errors/skerry-error.ts';
import { clip } from '../platform/text.ts';

const objectName = /^[A-Za-z0-9._-]{1,64}$/;
const appIdShape = /^ap-[A-Za-z0-9]{22}$/;
const environmentName = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/;
const maxTags = 64;
const maxTagKey = 128;
const maxTagValue = 512;

/** True for text that the clients take for an app id instead of a name. */
export const isAppId = (text: string): boolean => appIdShape.test(text);

/**
 * The rule for names of apps, secrets and sandboxes: 1 to 64 of `[A-Za-z0-9._-]`, not of an app id's shape.
 * @throws SkerryError `invalid-argument`
 */
export function checkObjectName(what: string, name: string): void {
  if (!objectName.test(name)) {
    throw new SkerryError(
      'invalid-argument',
      `Invalid ${what} name '${clip(name)}': use 1 to 64 letters, digits, dots, dashes and underscores.`,
    );
  }
  if (isAppId(name)) {
    throw new SkerryError('invalid-argument', `Invalid ${what} name '${name}': it looks like an app id.`);
  }
}

/**
 * 1 to 64 of `[A-Za-z0-9_-]`, the first a letter or digit, not starting with `en-`.
 * @throws SkerryError `invalid-argument`
 */
export function checkEnvironmentName(name: string): void {
  if (environmentName.test(name) && !name.startsWith('en-')) return;
  throw new SkerryError(
    'invalid-argument',
    `Invalid environment name '${clip(name)}': use 1 to 64 letters, digits, dashes and underscores, starting with a letter or digit and not with 'en-'.`,
  );
}

/** At most 64 tags, keys of 1 to 128 and values of at most 512 characters. @throws SkerryError `invalid-argument` */
export function checkTags(tags: Readonly<Record<string, string>>): void {
  const entries = Object.entries(tags);
  if (entries.length > maxTags) {
    throw new SkerryError('invalid-argument', `At most ${maxTags} tags are allowed, got ${entries.length}.`);
  }
  for (const [key, value] of entries) {
    if (key.length < 1 || key.length > maxTagKey || value.length > maxTagValue) {
      throw new SkerryError(
        'invalid-argument',
        `Invalid tag '${clip(key)}': keys have 1 to ${maxTagKey} characters, values at most ${maxTagValue}.`,
      );
    }
  }
}
