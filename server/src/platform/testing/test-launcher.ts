/** A launcher of a test's own. */
import { launcherBinaryPath } from '../../agent/agent-binary.ts';
import { baseEnvironment } from '../command.ts';
import { Launcher } from '../launcher.ts';

/** One that runs the real program, or another, and what it warns of. */
export function testLauncher(program = launcherBinaryPath()) {
  const warnings: string[] = [];
  const logger = { warn: (_fields: object, event: string) => warnings.push(event) };
  const launcher = new Launcher({ program, whose: 'test', env: baseEnvironment(), logger });
  return { launcher, warnings };
}
