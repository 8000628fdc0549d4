import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { agentBinaryPath } from '../../agent/agent-binary.ts';
import { run } from '../../platform/command.ts';
import { findProgram } from '../../platform/find-program.ts';
import { delay } from '../../platform/wait.ts';
import { createLogger } from '../../telemetry/logger.ts';
import { createBusyboxLayer } from '../testing/busybox-layer.ts';
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

/** Milliseconds after the first instance at which the server is killed: spread over the starts and ends that follow. */
const moments = [0, 7, 13, 24, 38, 55, 90, 140];

for (const runtime of ['runc', 'gvisor'] as const) {
  const finding = findings[runtime];
  const skip = usable ? (finding.ok ? false : finding.reason) : 'needs root, the agent and busybox';
  describe(`a server killed at any moment, ${runtime}`, { skip }, () => {
    it('leaves nothing that the next one does not remove', async () => {
      const dataDir = await mkdtemp(join(scratch, 'data-'));
      const layer = `layer-${runtime}`;
      await createBusyboxLayer(join(scratch, layer));
      const words = [instanceName(dataDir)];
      assert.deepEqual(await hostTraces(words), []);
      for (const moment of moments) {
        const kill = new AbortController();
        const ready = Promise.withResolvers<void>();
        const child = fileURLToPath(new URL('../testing/engine-child.ts', import.meta.url));
        const server = run([process.execPath, child, dataDir, scratch, layer, runtime], {
          signal: kill.signal, // the supervisor kills with SIGKILL
          env: { ...process.env, HOME: '/root' } as Record<string, string>, // no variable is undefined in a copy of process.env
          onOutput: () => ready.resolve(),
        });
        server.catch(ready.reject);
        await ready.promise;
        await delay(moment);
        kill.abort();
        await server.catch(() => {});
        const engine = createOciEngine({
          config: {
            runtime: 'auto',
            extraCaFile: '',
            allowPrivate: [],
            subnet: 'auto',
            nameservers: ['192.0.2.53'],
            runscPath: process.env.SKERRY_RUNSC ?? '',
          },
          dataDir,
          content: new TestContent(scratch),
          agentBinaryPath: agentBinaryPath(),
          logger: createLogger('silent'),
          networkPoolSize: 0,
        });
        await engine.open();
        assert.equal((await engine.adopt(new Set())).size, 0);
        await engine.close();
        await engine.remove();
        assert.deepEqual(await hostTraces(words), [], `killed after ${moment} ms`);
      }
    });
  });
}
