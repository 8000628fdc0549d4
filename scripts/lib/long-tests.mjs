/** Files of end-to-end tests that take minutes each and are about what seldom changes: `npm run test:long` runs them, and `npm test` where a pattern names one. */
export const longTests = [
  'e2e/crash/crash.test.ts', // also by `npm run test:crash`, much longer
  'e2e/crash/memory.test.ts',
  'e2e/full-disk/full-disk.test.ts',
  'e2e/full-disk/shared-disk.test.ts',
  'e2e/host-mounts.test.ts',
  'e2e/images/pythons.test.ts',
  'e2e/jupyter.test.ts',
  'e2e/missing-runtime.test.ts',
];
