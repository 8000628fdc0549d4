/**
 * Skerry on a whole machine of another kind: `npm run test:machines [-- trixie|bookworm] [--suites | --carry [TEST...]]`. Builds and boots a Debian in QEMU, copies
 * the commit that is checked out into it, and does there what a user does, from nothing: quickstart, install, reboot, down; with `--suites` the limits, restart
 * and leftovers tests as well. With `--carry` what the quickstart builds is carried in, and the same tests (or those named) follow a short walk. The record goes
 * to `docs/machines/`. Takes hours where nothing accelerates the machine, and is no part of CI.
 */
import { globSync } from 'node:fs';
import { join } from 'node:path';
import { carried, carriedPackages, carryInto } from './lib/carried.mjs';
import { capture } from './lib/command.mjs';
import { Machine } from './lib/machine.mjs';
import { MachineRecord } from './lib/machine-record.mjs';
import { testSuites, walkCarrying, walkFromNothing } from './lib/machine-walks.mjs';
import { cacheDir, root } from './lib/paths.mjs';
import { runMain, SetupError, step } from './lib/step.mjs';

const suites = ['trixie', 'bookworm'];

await runMain(async () => {
  const words = process.argv.slice(2);
  const [suite = suites[0], ...tests] = words.filter((word) => !word.startsWith('--'));
  if (!suites.includes(suite)) throw new SetupError(`There is ${suites.join(' and ')}, not ${suite}.`);
  if (process.getuid?.() !== 0) throw new SetupError('Making a machine needs root.');
  const carrying = words.includes('--carry');
  const machine = new Machine({
    suite,
    dir: join(cacheDir(), 'machines', carrying ? `${suite}-carrying` : suite),
    port: Number(process.env.SKERRY_MACHINE_PORT || 2240),
    memoryMiB: 3072,
    ...(carrying ? { carrying: { packages: carriedPackages, fill: carryInto } } : {}),
  });
  const commit = (await capture(['git', '-C', root, 'rev-parse', 'HEAD'])).trim();
  await step(`Machine ${suite}`, (progress) => machine.build(progress));
  try {
    await step('Boot', (progress) => machine.start(progress));
    const command = ['npm run test:machines --', ...words].join(' ');
    const heading = `Commit ${commit}, by \`${command}\`: QEMU without acceleration, one processor, 3 GiB.`;
    if (carrying) {
      const what = ['Carried in and not built there:', '', ...carried.map((line) => `- ${line}`)];
      const record = new MachineRecord(machine, 'suites', [heading, '', ...what]);
      await walkCarrying(machine, record, testFiles(tests.length > 0 ? tests : testSuites));
      return record.isGood ? 0 : 1;
    }
    const record = new MachineRecord(machine, '', [heading]);
    await walkFromNothing(machine, record, words.includes('--suites'));
    return record.isGood ? 0 : 1;
  } finally {
    await machine.stop();
  }
});

/** Test files of these paths, which may be folders. */
function testFiles(paths) {
  return paths.flatMap((path) =>
    path.endsWith('/') ? globSync(`${path}**/*.test.ts`, { cwd: root }).sort() : [path],
  );
}
