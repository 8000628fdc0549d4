/**
 * Which registry is told the credentials of a definition. The wire has them beside the text of a Dockerfile and does not say whose they are; clients send them with
 * the image of a reference, which their first line is made of, while what comes after it may be anybody's.
 */
import { parseReference } from '../bases/reference.ts';
import type { BoundCredentials, ImageDefinition } from '../image.ts';

/** @param firstFrom the image of the first FROM, expanded; one of ours has no registry */
export function boundCredentials(
  { registryCredentials: credentials, baseImages }: ImageDefinition,
  firstFrom: string,
): BoundCredentials | undefined {
  if (!credentials || firstFrom === 'scratch' || baseImages.has(firstFrom)) return undefined;
  return { registry: parseReference(firstFrom).registry, credentials };
}
