/**
 * Makes images, a snapshot and mounts and collects what of them is unused, until it is killed at a point of that. Says what it made first.
 *
 * Arguments: the directory, the point.
 */
import { killAt } from '../../platform/fault-points.ts';
import { Domain } from '../../sandboxes/testing/domain.ts';
import { CacheSetting } from './cache-setting.ts';

const [root = '', point = ''] = process.argv.slice(2);
const clock = { ms: Date.now() };
const domain = await Domain.over(root, { now: () => clock.ms });
const setting = new CacheSetting(domain, () => clock.ms, { faultPoint: killAt(point) });
const [unused, below, named] = [
  await setting.build('unused'),
  await setting.build('below'),
  await setting.build('named'),
];
domain.images.publish(named.id, 'named');
const snapshot = await setting.snapshot(below);
const mount = await setting.mount('one', 'two');
process.stdout.write(
  `${JSON.stringify({ unused: unused.id, below: below.id, named: named.id, snapshot: snapshot.id, mount })}\n`,
);
clock.ms += 1;
await setting.collector.collect({ unusedForMs: 0 });
