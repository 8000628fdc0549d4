/** Many sandboxes that all start processes: each is within its own limit, and together they would take the machine's last process. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { cgroupPlace } from '../../server/src/engines/oci/cgroup-place.ts';
import { instanceName } from '../../server/src/engines/oci/layout.ts';
import { skipWithout } from '../support/runtimes.ts';
import { startServer } from '../support/server.ts';
import { createSandboxes } from './support/strong-sandbox.ts';

const EACH = 300;
const TOGETHER = 400;
/** Of Skerry itself, and of programs that are there anyway. */
const OTHERS = 50;

/** Starts threads until that is refused, says how often it was not, and goes on or ends: they count as processes do, and take little else. */
const threads = (then: string): readonly string[] => [
  'python3',
  '-c',
  `
import os, signal, threading
threading.stack_size(1 << 16)
count = 0
try:
    while True:
        threading.Thread(target=signal.pause, daemon=True).start()
        count += 1
except RuntimeError:
    print(count, flush=True)
${then}`,
];
const holding = threads('signal.pause()');
const counting = threads('os._exit(0)');

/** gVisor's programs are things of its own kernel: of the machine's processes they take none. */
const skip = await skipWithout('runc');

test('sandboxes that start processes without end cannot take the last process of the machine, each within its own limit', {
  skip,
}, async () => {
  const flags = ['--default-pids', String(EACH), '--max-pids', String(TOGETHER)];
  const server = await startServer({ runtime: 'runc', flags });
  try {
    const memory = 'memory=(512, 512)';
    const [first, second] = await createSandboxes(server, 'runc', [memory, memory]);
    assert.ok(first && second);
    await first.background(holding);
    const bounded = Number(await second.run(counting));
    assert.ok(bounded <= TOGETHER - EACH + OTHERS, `${bounded} beside ${EACH}`);
    assert.equal(await second.run(['echo', 'on']), 'on\n');
    await writeFile(boundOf(instanceName(server.dataDir)), 'max');
    const unbounded = Number(await second.run(counting));
    assert.ok(unbounded > EACH - OTHERS, `${unbounded} without the bound`);
  } finally {
    await server.stop();
  }
});

function boundOf(instance: string): string {
  const roots = ['/sys/fs/cgroup/pids', '/sys/fs/cgroup'];
  const file = roots
    .map((root) => join(root, cgroupPlace(instance), 'pids.max'))
    .find((path) => existsSync(path));
  assert.ok(file !== undefined, 'nothing bounds them');
  return file;
}
