/**
 * A server for `kills-of-copies.test.ts`: keeps the memory of a sandbox, forks it, has it go back, and makes two of an image that has something done first; says each thing it has been answered on a line, and is killed at the fault point that it was
 * told.
 *
 * Arguments: the directory, the fault point as `OPERATION:NAME` (empty: tells all it passes instead).
 */
import { killAt } from '../../platform/fault-points.ts';
import { Domain, deadline, output } from './domain.ts';
import { buildImage } from './test-images.ts';

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

const command = ['sh', '-c', 'echo done >> /done; echo ready; exec sleep 1000'];
const label = JSON.stringify(JSON.stringify(command));
const imageId = await buildImage(domain.images, ['FROM base', `LABEL skerry.warm-up=${label}`]);
operation = 'warm-up';
for (const name of ['warm-1', 'warm-2']) {
  await domain.running({ name, imageId, args: [] });
  say(name);
}
operation = '';
await domain.manager.close();
process.exit(0);
