import { SkerryError } from '../../errors/skerry-error.ts';

/** What a Pod cannot do. */
export const unable = (what: string): SkerryError =>
  new SkerryError('unimplemented', `On Kubernetes a sandbox cannot ${what}.`);
