/**
 * `npm run bench -- --check`: whether Skerry has become much slower beside plain runc than it was in the last page of `results/`. Ratios of the fastest rounds are compared: what else a
 * machine does can only add to a time, and a faster machine is faster for both.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runtimesToTest } from '../e2e/support/runtimes.ts';
import { createBusyboxLayer } from '../server/src/engines/testing/busybox-layer.ts';
import { CleanupScope } from '../server/src/platform/cleanup.ts';
import { createLogger } from '../server/src/telemetry/logger.ts';
import { ociContender } from './oci-contender.ts';
import { say } from './page.ts';
import { type Ratios, ratiosOf, slower } from './ratios.ts';
import { loadPage, newestPage, readPage } from './result-page.ts';
import { coldContenders } from './skerry-contender.ts';
import { takeTurns } from './turns.ts';

/** Of these the fastest counts. */
const ROUNDS = 6;
/** Between two turns. What one leaves for the next can hit some rounds, and those do not count. */
const REST_MS = 100;
/** Noise that hits every round of one contender, and of no other, has never come to as much. */
const MOST_GROWTH = 3;

/** Prints each ratio beside the one before. @returns whether none has grown to more than three times of it */
export async function check(): Promise<boolean> {
  await using cleanup = new CleanupScope(createLogger('error'));
  const scratch = mkdtempSync(join(tmpdir(), 'bench-'));
  cleanup.add('scratch directory', () => rmSync(scratch, { recursive: true, force: true }));
  const rootfs = join(scratch, 'rootfs');
  const dataDir = join(scratch, 'data');
  mkdirSync(dataDir);
  await createBusyboxLayer(rootfs);
  for (const point of ['dev', 'proc', 'sys']) mkdirSync(join(rootfs, point), { recursive: true });
  const runc = await ociContender({
    ...{ name: 'runc', command: ['runc', '--root', join(scratch, 'runc')], rootfs, scratch },
  });
  cleanup.add('runc', () => runc.close());
  const now = new Map<string, number>();
  for (const { runtime, skip } of await runtimesToTest()) {
    if (skip !== false) {
      say(`not checked: skerry (${runtime}): ${skip}`);
      continue;
    }
    // One after the other on the same data: the image is made once.
    const contenders = await coldContenders(runtime, dataDir);
    try {
      const results = await takeTurns([runc, ...contenders], ROUNDS, REST_MS);
      for (const [key, ratio] of ratiosOf(results)) now.set(key, ratio);
    } finally {
      for (const contender of contenders) await contender.close();
    }
  }
  return told(ratiosOf(readPage(loadPage(newestPage('create-and-exec')))), now);
}

function told(before: Ratios, now: Ratios): boolean {
  for (const [key, ratio] of now) {
    const then = before.get(key);
    process.stdout.write(`${key}: ${ratio.toFixed(2)} × runc, was ${then?.toFixed(2) ?? 'not measured'}\n`);
  }
  const grown = slower(before, now, MOST_GROWTH);
  for (const key of grown)
    process.stdout.write(`more than ${MOST_GROWTH} times as slow beside runc as it was: ${key}\n`);
  return grown.length === 0;
}
