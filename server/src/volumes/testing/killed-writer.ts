/**
 * Writes one generation after the other in a volume, as a sandbox does, until it is killed: says `writing N` before and `kept N` once it is a version. A second
 * sandbox reloads meanwhile.
 *
 * Arguments: the directory, the number of the last generation, `disks` when what is written is to be on a disk of its own.
 */
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { noFaultPoint } from '../../platform/fault-points.ts';
import { generation } from './generations.ts';
import { openTestDisks } from './test-disks.ts';
import { VolumeSetting } from './volume-setting.ts';

const [root = '', last = '0', where = ''] = process.argv.slice(2);
// At once: what is buffered would die with the process.
const say = (line: string): void => void process.stdout.write(`${line}\n`);

const setting = new VolumeSetting(
  root,
  noFaultPoint,
  where === 'disks' ? await openTestDisks(root) : undefined,
);
const writer = await setting.attach();
const reader = await setting.attach();
for (let number = Number(last) + 1; ; number++) {
  say(`writing ${number}`);
  for (const name of ['dir', 'new']) await rm(writer.at(name), { recursive: true, force: true });
  await mkdir(writer.at('new'));
  for (const [name, content] of generation(number)) await writeFile(writer.at(`new/${name}`), content);
  await rename(writer.at('new'), writer.at('dir'));
  say(`committing ${number}`);
  await setting.mounts.settle(setting.volume);
  say(`kept ${number}`);
  await setting.mounts.reload(reader.task);
  await setting.files.copy(setting.volume, ['dir/0'], 'copy', { recursive: false });
}
