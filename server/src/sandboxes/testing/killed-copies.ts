/**
 * A server for `kills-of-copies.test.ts`: keeps the memory of a sandbox, forks it and has it go back, says each thing it has been answered on a line, and is killed at the fault point that it was
 * told.
 *
 * Arguments: the directory, the fault point as `OPERATION:NAME` (empty: tells all it passes instead).
 */
import { killAt } from '../../platform/fault-points.ts';
import { Domain, deadline, output } from './domain.ts';

const [root = '', chosen = ''] = process.argv.slice(2);
// At once: what is buffered would die with the process.
const say = (line: string): void => void process.stdout.write(`${line}\n`);

let operation = '';
const told = chosen === '' ? (point: string) => say(`point ${point}`) : killAt(chosen);
const faultPoint = (name: string): void => {
  if (operation !== '') told(`${operation}:${name}`);
};
const domain = await Domain.over(root, { faultPoint, checkpoints: true });
await domain.manager.recover();
const sandbox = await domain.running({ name: 'worker', args: [] });
await output(sandbox, ['sh', '-c', 'echo then > /kept']);

operation = 'checkpoint';
const id = await sandbox.keepMemory(deadline());
say('kept');
operation = '';
await output(sandbox, ['sh', '-c', 'echo now > /kept']);

operation = 'fork';
await domain.manager.fork(sandbox.id, [{ name: 'copy-1' }, { name: 'copy-2' }], deadline());
say('forked');

operation = 'rollback';
await domain.manager.rollBack(sandbox.id, id, deadline());
say('rolled back');
operation = '';
await domain.manager.close();
process.exit(0);
