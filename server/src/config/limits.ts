/** The settings that bound what sandboxes and tokens take, as they are, for whoever looks at a server. */
import type { Config } from './config.ts';
import { describeSettings } from './settings.ts';

const LIMITS: ReadonlySet<keyof Config> = new Set([
  'maxSandboxes',
  'maxStarting',
  'warmPool',
  'defaultMemoryMiB',
  'defaultMilliCpu',
  'defaultPids',
  'maxPids',
  'maxConnections',
  'diskLimits',
  'defaultDiskMiB',
  'maxDiskMiB',
  'buildDiskMiB',
  'buildMemoryMiB',
  'buildPids',
  'buildTimeoutMinutes',
  'volumeDiskMiB',
  'maxVolumeMiB',
  'maxOutputMiB',
  'keepOutputHours',
  'cacheMaxDays',
  'cacheMaxMiB',
  'tunnelConnections',
  'tokenCreatesPerMinute',
]);

export interface Limit {
  /** `--max-sandboxes` */
  readonly flag: string;
  readonly value: string;
  /** With its unit, and what a special value means. */
  readonly description: string;
}

export const limitsOf = (config: Config): readonly Limit[] =>
  describeSettings()
    .filter(({ key }) => LIMITS.has(key))
    .map(({ key, flag, description }) => ({ flag, value: String(config[key]), description }));
