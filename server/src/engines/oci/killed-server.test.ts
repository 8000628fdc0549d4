import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { agentBinaryPath, enginePrograms } from '../../agent/agent-binary.ts';
import { type CommandOptions, run } from '../../platform/command.ts';
import { findProgram } from '../../platform/find-program.ts';
import { delay } from '../../platform/wait.ts';
import '../../platform/testing/by-launcher.ts';
import { drawn } from '../../platform/testing/drawn.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { createBusyboxLayer } from '../testing/busybox-layer.ts';
import { TEST_ENGINE_CONFIG } from '../testing/engine-config.ts';
import { hostTraces } from '../testing/host-traces.ts';
import { TestContent } from '../testing/test-content.ts';
import { createOciEngine } from './engine.ts';
import { instanceName } from './layout.ts';
import { findRuntimes } from './runtime-choice.ts';

const scratch = await mkdtemp(join(tmpdir(), 'skerry-killed-'));
after(() => rm(scratch, { recursive: true, force: true }));
const findings = await findRuntimes(process.env.SKERRY_RUNSC ?? '', scratch);
const usable =
  process.getuid?.() === 0 && existsSync(agentBinaryPath()) && findProgram('busybox') !== undefined;

const program = fileURLToPath(new URL('../testing/engine-child.ts', import.meta.url));
/** Milliseconds after the first instance at which the server is killed: spread over the starts and ends that follow. */
const moments = [0, 13, 38, 90];
/** Steps in the making and the removal of an instance. */
const points = [
  ...[
    'prepare.after-disk',
    'prepare.after-files',
    'prepare.after-resources',
    'start.after-bundle',
    'start.after-runtime',
  ],
  ...['start.after-agent', 'bind.after-record', 'destroy.after-halt', 'destroy.after-files'],
];

/** Opens and removes the next server's engine over what a killed one left, and looks at what stays. */
async function assertRemoved(dataDir: string, words: readonly string[], when: string): Promise<void> {
  const engine = createOciEngine({
    config: TEST_ENGINE_CONFIG,
    dataDir,
    content: new TestContent(scratch),
    ...enginePrograms(),
    logger: createLogger('silent'),
    networkPoolSize: 0,
    diskPoolSize: 0,
  });
  await engine.open();
  const { instances, left } = await engine.adopt(new Set());
  assert.deepEqual([instances.size, left.size], [0, 0]);
  await engine.close();
  await engine.remove();
  assert.deepEqual(await hostTraces(words), [], `killed ${when}`);
}

for (const runtime of ['runc', 'gvisor'] as const) {
  const finding = findings[runtime];
  const skip = usable ? (finding.ok ? false : finding.reason) : 'needs root, the agent and busybox';
  describe(`a server killed at any moment, ${runtime}`, { skip }, () => {
    const layer = `layer-${runtime}`;
    let dataDir: string;
    let words: string[];
    before(async () => {
      dataDir = await mkdtemp(join(scratch, 'data-'));
      await createBusyboxLayer(join(scratch, layer));
      words = [instanceName(dataDir)];
      assert.deepEqual(await hostTraces(words), []);
    });
    const serve = (point: string, options: CommandOptions = {}) =>
      run([process.execPath, program, dataDir, scratch, layer, runtime, point], {
        env: { ...process.env, HOME: '/root' } as Record<string, string>, // no variable is undefined in a copy of process.env
        ...options,
      });

    it('leaves nothing that the next one does not remove', async () => {
      for (const moment of moments) {
        const kill = new AbortController();
        const ready = Promise.withResolvers<void>();
        // `run` kills with SIGKILL.
        const server = serve('', { signal: kill.signal, onOutput: () => ready.resolve() });
        server.catch(ready.reject);
        await ready.promise;
        await delay(moment);
        kill.abort();
        await server.catch(() => {});
        await assertRemoved(dataDir, words, `after ${moment} ms`);
      }
    });

    for (const point of drawn(points)) {
      it(`at ${point}`, async () => {
        await assert.rejects(serve(`instance.${point}`), /SIGKILL/);
        await assertRemoved(dataDir, words, `at ${point}`);
      });
    }
  });
}
