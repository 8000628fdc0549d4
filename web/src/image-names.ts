/** What images are called. */
import { useAsked } from './hooks.ts';
import { get } from './session.ts';

/** As `GET /skerry/v1/images` has it. */
export interface ListedImage {
  readonly id: string;
  readonly state: 'building' | 'ready' | 'failed' | 'cancelled';
  readonly names: readonly string[];
  readonly base?: string;
  readonly layers: number;
  readonly bytes: number;
  readonly createdAtMs: number;
  readonly lastUsedAtMs?: number;
}

export const listImages = (signal?: AbortSignal): Promise<{ readonly images: readonly ListedImage[] }> =>
  get('/skerry/v1/images', signal);

export const nameOf = ({ id, names, base }: Pick<ListedImage, 'id' | 'names' | 'base'>): string =>
  names[0] ?? base ?? id;

/** From an image's id to its name; the id itself where it has none, or where these are not shown to who is signed in. */
export function useImageNames(): (id: string) => string {
  const { value } = useAsked(listImages, '');
  const names = new Map(value?.images.map((image) => [image.id, nameOf(image)]));
  return (id) => names.get(id) ?? id;
}
