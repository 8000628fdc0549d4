/**
 * A server for `kills.test.ts`: takes a sandbox from its creation to its end, or goes on with one that an earlier server left, says each thing it has been
 * answered on a line, and is killed at the fault point that it was told.
 *
 * Arguments: the directory, the fault point (empty: tells all it passes instead), and `sleep` for one that is suspended and woken instead of working in its volume, `warm` for one
 * that waited for somebody.
 */
import { killAt } from '../../platform/fault-points.ts';
import { Domain, deadline, eventually, exec, output, TEST_ENVIRONMENT } from './domain.ts';

const [root = '', chosen = '', errand = 'work'] = process.argv.slice(2);
// At once: what is buffered would die with the process.
const say = (line: string): void => void process.stdout.write(`${line}\n`);

/** How often a point was passed: it is another one each time. */
const passed = new Map<string, number>();
const kill = killAt(chosen);
const faultPoint = (name: string) => {
  const times = (passed.get(name) ?? 0) + 1;
  passed.set(name, times);
  const each = times === 1 ? name : `${name}#${times}`;
  if (chosen === '') say(`point ${each}`);
  else kill(each);
};
const domain = await Domain.over(root, {
  ...{ faultPoint, checkpoints: true },
  warmPool: errand === 'warm' ? 1 : 0,
});
await domain.manager.recover();

const volume = domain.volumes.create(TEST_ENVIRONMENT, 'kept', 2, 'keep');
if (errand === 'warm') {
  const { imageId, network, runtime } = domain.spec();
  const wish = { count: 1, forMs: 60_000 };
  await domain.manager.keepWarm({ imageId, network, runtime }, wish, deadline());
  const taken =
    domain.manager.list({ limit: 1, includeEnded: true })[0] ?? (await domain.create({ name: 'worker' }));
  say(`created ${taken.id}`);
  await taken.waitUntilRunning(deadline());
  say('running');
  await output(taken, ['sh', '-c', 'test -e /runs || echo run >> /runs']);
  say('ran');
  await taken.terminate();
  say('terminated');
  await domain.manager.close();
  process.exit(0);
}

const volumes = [{ volumeId: volume.id, target: '/data', readOnly: false, subPath: '' }];
const readinessProbe = { check: { kind: 'exec', argv: ['true'] }, intervalMs: 5 } as const;
const sandbox =
  domain.manager.list({ limit: 1, includeEnded: true })[0] ??
  (await domain.create({ name: 'worker', readinessProbe, volumes }));
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
  if (errand === 'sleep') {
    // What ran has to have ended.
    await (await exec(sandbox, ['sh', '-c', 'echo last > /data/last'])).wait(deadline());
    await eventually(async () => sandbox.processes().every(({ exit }) => exit));
    await sandbox.suspend(deadline());
    say('suspended');
    await output(sandbox, ['true']);
    say('woke');
  }
  if (errand === 'work') {
    await output(sandbox, [
      'sh',
      '-c',
      'cd /data; for i in 1 2 3; do echo $i > new.$i; done; rm -f old; mv new.1 first',
    ]);
    await domain.volumeMounts.commit(volume.id);
    say('committed');
    await sandbox.reloadVolumes(deadline());
    say('reloaded');
    await output(sandbox, ['sh', '-c', 'echo last > /data/last']);
  }
  say('wrote');
}
const ending = sandbox.terminate();
say('terminating');
await ending;
say('terminated');
await domain.manager.close();
process.exit(0);
