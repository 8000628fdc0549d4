/** What an engine can do that only its tests or simulations have: those that exist say each by itself. */
import type { Capabilities } from '../engine.ts';

export const noCapabilities: Capabilities = {
  bindsLate: new Set(),
  joins: false,
  commit: false,
  networkPolicy: false,
  tenureMounts: false,
  copiedVolumes: false,
  mounts: false,
  commitDirectory: false,
  devices: false,
  disk: false,
  buckets: false,
  checkpoints: false,
};
