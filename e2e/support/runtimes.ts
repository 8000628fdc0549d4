/** Which runtimes this machine can test. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findRuntimes, type RuntimeFindings } from '../../server/src/engines/oci/runtime-choice.ts';

export interface RuntimeToTest {
  readonly runtime: 'runc' | 'gvisor';
  /** As `skip` of a test's options: false, or the reason why it cannot run here. */
  readonly skip: false | string;
}

/** Both runtimes; one that does not work on this machine says why. */
export async function runtimesToTest(): Promise<readonly RuntimeToTest[]> {
  const findings = await machineRuntimes();
  return (['runc', 'gvisor'] as const).map((runtime) => ({ runtime, skip: skipOf(findings[runtime]) }));
}

/**
 * As `skip` of a test that is the same under every runtime, and so is shown under runc alone: that clients of another language or version do what the current one in Python does, say, which
 * shows under each that it can be done at all. gVisor takes five times of the processor.
 */
export const onceUnderRunc = (runtime: RuntimeToTest['runtime']): false | string =>
  runtime === 'runc' ? false : 'the same as under runc, which shows it';

/** As `skip` of the options of a test that takes this runtime. */
export const skipWithout = async (runtime: RuntimeToTest['runtime']): Promise<RuntimeToTest['skip']> =>
  skipOf((await machineRuntimes())[runtime]);

const skipOf = (finding: RuntimeFindings['runc']): RuntimeToTest['skip'] =>
  finding.ok ? false : finding.reason;

/** What is known of each on this machine. */
export async function machineRuntimes(): Promise<RuntimeFindings> {
  const scratch = await mkdtemp(join(tmpdir(), 'runtimes-'));
  try {
    return await findRuntimes('', scratch);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}
