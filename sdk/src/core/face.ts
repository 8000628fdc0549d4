/**
 * What the two packages that stand on this core, `skerry` and `modbox-sdk`, say in words of their own. Whatever is the same in both is here: requests and their repetition, errors, waits, streams.
 */
export interface Face {
  /** Errors that have no class of their own are named after it. */
  readonly product: 'Skerry' | 'Modbox';
  /** The option of the package that says where the server is, and the environment variable that does. */
  readonly urlOption: string;
  readonly urlVariable: string;
  /** The environment variable that has the token. */
  readonly tokenVariable: string;
}
