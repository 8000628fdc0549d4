/** What attacks look for on the machine, harmless and the test's own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { chmod, copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { GUEST_AGENT, GUEST_AGENT_SOCKET } from '../../../server/src/engines/paths.ts';
import { Cleanup } from '../../../server/src/platform/cleanup.ts';
import { pythonWith } from '../../support/clients.ts';
import { projectRoot } from '../../support/server.ts';
import type { CanaryPlaces } from './weakenings.ts';

export interface Canary extends CanaryPlaces, AsyncDisposable {
  /** What attacks are told: where to look, and what is there. */
  readonly given: Readonly<Record<string, string | number>>;
}

/** A file in `binDir` that may be written has the agent's name; somebody listens in `socketDir`, and takes whoever comes. */
export async function makeCanary(): Promise<Canary> {
  const done = new Cleanup();
  try {
    const [canary, former] = [randomUUID(), randomUUID()];
    const dir = await mkdtemp(join(tmpdir(), 'skerry-canary-'));
    done.add('directory', () => rm(dir, { recursive: true, force: true }));
    await chmod(dir, 0o755);
    const file = join(dir, 'file');
    await writeFile(file, canary);
    const [binDir, socketDir] = [join(dir, 'bin'), join(dir, 'socket')];
    await mkdir(binDir);
    await mkdir(socketDir);
    await copyFile('/bin/true', join(binDir, basename(GUEST_AGENT)));
    const socket = join(socketDir, basename(GUEST_AGENT_SOCKET));
    const listener = createServer((connection) => connection.on('error', () => {}).end(canary));
    await once(listener.listen(socket), 'listening');
    done.add('listener', () => listener.close());
    await chmod(socket, 0o777);
    const program = join(projectRoot, 'e2e/security/support/canary.py');
    const child = spawn(pythonWith(), [program], {
      env: { SKERRY_CANARY: canary },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    done.add('process', () => ended(child));
    const [line] = await once(createInterface({ input: child.stdout }), 'line');
    const found = JSON.parse(line) as Record<string, string | number>; // what canary.py prints
    return {
      given: { ...found, canary, former, hostFile: file },
      former,
      binDir,
      socketDir,
      [Symbol.asyncDispose]: () => done.run(),
    };
  } catch (error) {
    await done.run();
    throw error;
  }
}

async function ended(child: ChildProcess): Promise<void> {
  const exit = once(child, 'exit');
  child.stdin?.end();
  await exit;
}
