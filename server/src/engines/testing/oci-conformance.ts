/** The engine of this machine, as the conformance suite sees it. */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { agentBinaryPath, enginePrograms } from '../../agent/agent-binary.ts';
import { Cleanup } from '../../platform/cleanup.ts';
import { run } from '../../platform/command.ts';
import { findProgram } from '../../platform/find-program.ts';
import '../../platform/testing/by-launcher.ts';
import { createLogger } from '../../telemetry/logger.ts';
import type { RuntimeName } from '../engine.ts';
import { createOciEngine } from '../oci/engine.ts';
import { instanceName } from '../oci/layout.ts';
import { findRuntimes } from '../oci/runtime-choice.ts';
import type { ContentPlaces } from '../references.ts';
import { TEST_ENGINE_CONFIG } from './engine-config.ts';
import { engineConformance } from './engine-conformance.ts';
import { engineIsolation, type IsolatingHarness } from './engine-isolation.ts';
import { hostTraces } from './host-traces.ts';
import { createOutside } from './outside.ts';
import { makeTestGpus } from './test-gpus.ts';

/** What every engine must do, of the one of this machine, and what only that one promises. Each runtime is a file of its own, so that neither waits for the other. */
export async function conformOnThisMachine(runtime: RuntimeName): Promise<void> {
  engineConformance(runtime, openHarness, await reasonToSkip(runtime), engineIsolation);
}

/** A hostname the runtime takes but the kernel does not: the start fails after everything else was made. */
const failingLimits = { memoryMiB: 1, milliCpu: 1000, milliCpuRequest: 100, pids: 20 };

async function openHarness(content: ContentPlaces): Promise<IsolatingHarness> {
  const done = new Cleanup();
  try {
    const dataDir = await mkdtemp(join(tmpdir(), 'skerry-engine-'));
    done.add('data directory', () => rm(dataDir, { recursive: true, force: true }));
    const gpus = await makeTestGpus(dataDir);
    const name = instanceName(dataDir);
    const outside = await createOutside(name.slice(0, 6));
    done.add('outside', () => outside[Symbol.asyncDispose]());
    const reached = new Set<Socket>();
    const server = createServer((socket) => reached.add(socket.on('error', () => {}).end('host\n'))).listen(
      0,
    );
    await once(server, 'listening');
    done.add('host server', () => {
      for (const socket of reached) socket.destroy(); // of sandboxes that should not have reached it, and are gone without a word
      server.close();
    });
    const address = server.address();
    if (typeof address !== 'object' || !address) throw new Error('no port');
    const make = () =>
      createOciEngine({
        config: { ...TEST_ENGINE_CONFIG, nameservers: [outside.publicAddress], cdiDirs: [gpus.directory] },
        dataDir,
        content,
        ...enginePrograms(),
        logger: createLogger('silent'),
        networkPoolSize: 0,
        diskPoolSize: 0,
        networkWatchMs: 3_600_000,
      });
    let engine = make();
    await engine.open();
    const foreign = Object.values(networkInterfaces())
      .flatMap((addresses) => addresses ?? [])
      .find((entry) => entry.family === 'IPv4' && !entry.internal);
    return {
      get engine() {
        return engine;
      },
      outside,
      hostAddress: foreign?.address ?? '198.51.100.1',
      hostPort: address.port,
      traces: () => hostTraces([name]),
      instanceAddresses: async () => {
        const { stdout } = await run(['ip', '-4', 'route', 'show']);
        return [...stdout.matchAll(/^(\S+) via \S+ dev (\S+)/gm)].flatMap(([, address = '', device]) =>
          device?.startsWith(`sk${name}`) ? [address] : [],
        );
      },
      rules: {
        drop: async () => {
          for (const family of ['inet', 'ip', 'netdev']) {
            await run(['nft', 'delete', 'table', family, `skerry_${name}`]);
          }
        },
        stand: async () =>
          (await run(['nft', 'list', 'table', 'netdev', `skerry_${name}`], { okCodes: [1] })).code === 0,
      },
      restart: async () => {
        // `close` stops what lives in this process (sockets, resolver) and touches no instance: what a killed process leaves.
        await engine.close();
        engine = make();
        await engine.open();
      },
      failingSpec: { limits: failingLimits },
      [Symbol.asyncDispose]: async () => {
        await engine.close();
        await engine.remove();
        await done.run();
      },
    };
  } catch (error) {
    await done.run();
    throw error;
  }
}

async function reasonToSkip(runtime: RuntimeName): Promise<string | false> {
  if (process.getuid?.() !== 0) return 'needs root';
  if (!existsSync(agentBinaryPath())) return 'the agent is not built';
  if (!findProgram('busybox')) return 'busybox is not installed';
  const probeDir = await mkdtemp(join(tmpdir(), 'skerry-probe-'));
  try {
    const finding = (await findRuntimes(process.env.SKERRY_RUNSC ?? '', probeDir))[runtime];
    return finding.ok ? false : finding.reason;
  } finally {
    await rm(probeDir, { recursive: true, force: true });
  }
}
