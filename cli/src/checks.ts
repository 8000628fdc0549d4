/** What `skerry doctor` looks at besides what the server asks for itself. */
import { existsSync, statfsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Config, type EngineCheck, run } from '../../server/src/operator.ts';
import { checkPortIsFree } from './server-process.ts';
import type { ServerState } from './server-state.ts';

const GiB = 1 << 30;
/** Debian with a few languages takes about 0.6 GiB; below this an image build is likely to fail. */
const MIN_FREE_BYTES = 2 * GiB;

/** One check per thing; none throws, and they run at the same time. */
export function machineChecks(config: Config, running: ServerState | undefined): Promise<EngineCheck[]> {
  return Promise.all([nodeVersion(), diskSpace(config.dataDir), port(config, running), pythonClient()]);
}

function nodeVersion(): EngineCheck {
  const ok = Number(process.versions.node.split('.')[0]) >= 24;
  return {
    name: 'Node.js',
    ok,
    required: true,
    found: `${process.versions.node} (${process.execPath})`,
    remedy: 'Run `npm run setup`: it installs Node 24 into node_modules.',
  };
}

function diskSpace(dataDir: string): EngineCheck {
  let place = dataDir;
  while (!existsSync(place)) place = dirname(place);
  const { bavail, bsize } = statfsSync(place);
  const free = bavail * bsize;
  return {
    name: 'disk space',
    ok: free >= MIN_FREE_BYTES,
    required: false,
    found: `${(free / GiB).toFixed(1)} GiB free in ${place}`,
    remedy: `Have at least ${MIN_FREE_BYTES / GiB} GiB free: \`skerry disk\` shows what takes the room, \`skerry prune\` removes what nobody uses. Or put the data elsewhere with --data-dir.`,
  };
}

async function port({ host, port: wanted }: Config, running: ServerState | undefined): Promise<EngineCheck> {
  const base = {
    name: 'port',
    required: true,
    remedy: 'Stop the program that has it, or choose another with --port.',
  };
  if (running) return { ...base, ok: true, found: `the server has ${running.url}` };
  try {
    await checkPortIsFree(host, wanted);
    return { ...base, ok: true, found: `${host} port ${wanted} is free` };
  } catch {
    return { ...base, ok: false, found: `${host} port ${wanted} is in use` };
  }
}

/** The client is the user's own business; the one that the quickstart made is only a convenience. */
async function pythonClient(): Promise<EngineCheck> {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const candidates = [join(root, '.skerry/venv/modal-1.6.4/bin/python'), 'python3'];
  const found: string[] = [];
  for (const python of candidates) {
    try {
      const script = 'import importlib.metadata as m; print(m.version("modal"))';
      const { stdout } = await run([python, '-c', script], { timeoutMs: 20_000 });
      found.push(`modal ${stdout.trim()} (${python})`);
    } catch {
      // none there
    }
  }
  return {
    name: 'Python client',
    ok: found.length > 0,
    required: false,
    found: found.join(', ') || 'none',
    remedy: 'Install it where your programs run: pip install modal',
  };
}
