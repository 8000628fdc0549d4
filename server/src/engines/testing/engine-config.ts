/** Settings of an engine of this machine for tests: whichever runtimes are there, and nobody who resolves names. */
import type { OciEngineOptions } from '../oci/options.ts';

export const TEST_ENGINE_CONFIG: OciEngineOptions['config'] = {
  runtime: 'auto',
  extraCaFile: '',
  allowPrivate: [],
  maxConnections: 4096,
  maxPids: 0,
  subnet: 'auto',
  nameservers: ['192.0.2.53'], // a documentation address (RFC 5737): nobody's
  cdiDirs: [],
  gpuTypes: [],
  diskLimits: 'auto',
  encryptMemorySnapshots: 'off',
  defaultDiskMiB: 64,
  defaultDiskFiles: 4096,
  buildDiskMiB: 128,
  volumeDiskMiB: 128,
  runscPath: process.env.SKERRY_RUNSC ?? '',
};
