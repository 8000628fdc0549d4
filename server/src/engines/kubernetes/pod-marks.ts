/** How a Pod tells people of its cluster whose it is: labels to select by, and an annotation for what cannot be one. */
import type { V1ObjectMeta } from '@kubernetes/client-node';
import type { Marks } from '../engine.ts';

export type Labels = NonNullable<V1ObjectMeta['labels']>;
/** What of an object people select and read. */
export type Marked = Pick<V1ObjectMeta, 'labels' | 'annotations'>;

/** Before the keys of tags, which are anybody's: no other label of ours can be one. */
const TAG_PREFIX = 'tag.skerry.dev/';
const SANDBOX_LABEL = 'skerry.dev/sandbox';
const APP_LABEL = 'skerry.dev/app';
const NAME_LABEL = 'skerry.dev/name';
/** All tags, as JSON, unless that is longer: the cluster takes 256 KiB of annotations, and the policy is in one. */
const TAGS_ANNOTATION = 'skerry.dev/tags';
const MAX_TAGS_BYTES = 64 * 1024;
/** What may follow the prefix of a label's key, and what may be its value: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set */
const WORD = /^[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?$/;

/** @param before the Pod's labels: those of tags that are no more go */
export function marksFor({ sandbox, app, name, tags }: Marks, before: Labels = {}): Marked {
  const isWord = (text: string) => WORD.test(text);
  const tagged = Object.entries(tags).filter(
    ([key, value]) => isWord(key) && (value === '' || isWord(value)),
  );
  const written = JSON.stringify(tags);
  const gone = Object.keys(before).filter((key) => key.startsWith(TAG_PREFIX));
  return {
    labels: {
      ...withoutThem(gone),
      ...{ [SANDBOX_LABEL]: sandbox, [APP_LABEL]: app },
      ...(name !== undefined && isWord(name) && { [NAME_LABEL]: name }),
      ...Object.fromEntries(tagged.map(([key, value]) => [`${TAG_PREFIX}${key}`, value])),
    },
    annotations: { [TAGS_ANNOTATION]: Buffer.byteLength(written) <= MAX_TAGS_BYTES ? written : '' },
  };
}

/** A merge patch takes away what it says is null (RFC 7396), for which the client's types have no word. */
const withoutThem = (keys: readonly string[]) =>
  Object.fromEntries(keys.map((key) => [key, null])) as unknown as Record<string, string>;
