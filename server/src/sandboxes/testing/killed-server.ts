/**
 * A server for `kills.test.ts`: takes a sandbox from its creation to its end, or goes on with one that an earlier server left, says each thing it has been
 * answered on a line, and is killed at the fault point that it was told.
 *
 * Arguments: the directory, the fault point (empty: tells all it passes instead).
 */
import { killAt } from '../../platform/fault-points.ts';
import { Domain, deadline, output } from './domain.ts';

const [root = '', chosen = ''] = process.argv.slice(2);
// At once: what is buffered would die with the process.
const say = (line: string): void => void process.stdout.write(`${line}\n`);

const faultPoint = chosen === '' ? (name: string) => say(`point ${name}`) : killAt(chosen);
const domain = await Domain.over(root, { faultPoint });
await domain.manager.recover();

const readinessProbe = { check: { kind: 'exec', argv: ['true'] }, intervalMs: 5 } as const;
const sandbox =
  domain.manager.list({ limit: 1, includeEnded: true })[0] ??
  (await domain.create({ name: 'worker', readinessProbe }));
say(`created ${sandbox.id}`);
// What an earlier server had begun to end does not run any more.
if (
  await sandbox.waitUntilRunning(deadline()).then(
    () => true,
    () => false,
  )
) {
  say('running');
  await sandbox.waitUntilReady(60_000, deadline());
  say('ready');
  await output(sandbox, ['sh', '-c', 'test -e /runs || echo run >> /runs']);
  say('ran');
}
const ending = sandbox.terminate();
say('terminating');
await ending;
say('terminated');
await domain.manager.close();
process.exit(0);
