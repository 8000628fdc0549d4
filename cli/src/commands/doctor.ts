import { Command } from 'commander';
import { checkServer, type EngineCheck } from '../../../server/src/operator.ts';
import { machineChecks } from '../checks.ts';
import { ExitStatus } from '../cli-error.ts';
import { findRunningServer } from '../server-state.ts';
import { addServerOptions, configOf, serverFlags } from './server-options.ts';

/** `skerry doctor`: exit status 1 when something is missing without which no sandbox can run. */
export function doctorCommand(): Command {
  const command = new Command('doctor')
    .description('check what the machine must have, and say what to do about what is missing')
    .option('--json', 'print one JSON array');
  return addServerOptions(command).action(async (options: { json?: boolean }) => {
    const config = configOf(serverFlags(command));
    const checks = [
      ...(await machineChecks(config, findRunningServer(config.dataDir))),
      ...(await checkServer(config)),
    ];
    process.stdout.write(options.json ? `${JSON.stringify(checks, null, 2)}\n` : formatChecks(checks));
    if (checks.some(({ ok, required }) => required && !ok)) process.exitCode = ExitStatus.failed;
  });
}

/** One line per check, and under each that failed what to do. */
export function formatChecks(checks: readonly EngineCheck[]): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  const lines = checks.flatMap(({ name, ok, required, found, remedy }) => {
    const line = `${ok ? '✓' : required ? '✗' : '!'} ${name.padEnd(width)}  ${found}`;
    return ok ? [line] : [line, `  ${' '.repeat(width)}  → ${remedy}`];
  });
  const missing = checks.filter(({ ok, required }) => required && !ok).map(({ name }) => name);
  const verdict =
    missing.length > 0 ? `Missing: ${missing.join(', ')}.` : 'This machine has what Skerry needs.';
  return `${[...lines, '', verdict].join('\n')}\n`;
}
