/** Images that the nodes of a cluster can fetch. An engine knows layers as directories; how they come to a registry is somebody else's. */
export interface ImageSource {
  /**
   * Sees to it that nodes find an image of these layers.
   * @param tag the same layers have the same; at most 128 of `[a-z0-9.-]`
   * @param layers directories in overlayfs format, lowest first
   * @returns what a Pod names it by
   * @throws SkerryError `permission-denied` when the registry refuses it, `unavailable` when it does not answer, `disk-full`; the signal's reason
   */
  provide(tag: string, layers: readonly string[], signal: AbortSignal): Promise<string>;
  /** What nodes need to fetch them, as Docker's configuration; undefined for a registry without passwords. @throws SkerryError `invalid-argument` */
  credentials(): Promise<string | undefined>;
  /** Breaks off what is under way, which nobody waits for any more. */
  close(): void;
}
