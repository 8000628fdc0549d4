/**
 * Loaded into each test file's process (`node --test --import`): ends one that stays alive when its tests are over. Node has no bound for that: the
 * run would wait for ever, and tell of no failure.
 */
import { after } from 'node:test';

/** For the file's own hooks, which run after this one and put sandboxes away. */
const PATIENCE_MS = 120_000 * Math.max(1, Number(process.env.SKERRY_TEST_SLOWNESS) || 1);

// The process that runs the files loads this as well, and so do programs that tests start with the same flags.
if (process.env.NODE_TEST_CONTEXT?.startsWith('child')) {
  after(() => {
    // A process that ends by itself frees what it has, and then spins for ever when Node counted a request of a TLS connection that was cut off as under
    // way (seen with 24.21.0 about once in ten runs of `tunnels.test.ts` on a busy machine; github.com/nodejs/node/issues/47748). One that is told to end does not.
    process.on('exit', (code) => process.exit(code));
    // And one may be kept by what a failed test left, as a server that listens.
    setTimeout(() => {
      const what = process.getActiveResourcesInfo().join(', ');
      process.stderr.write(
        `The tests of ${process.argv[1]} are over, and something keeps its process: ${what}\n`,
      );
      process.exit(1);
    }, PATIENCE_MS).unref();
  });
}
