/** Which runtimes the machine has, and whether gVisor really works on it. */
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import gvisor from '../../../gvisor.json' with { type: 'json' };
import { SkerryError } from '../../errors/skerry-error.ts';
import { run } from '../../platform/command.ts';
import { findProgram, isExecutable } from '../../platform/find-program.ts';
import type { RuntimeChoice, RuntimeName } from '../engine.ts';

/** What is known of one runtime. */
export type RuntimeFinding =
  | { readonly ok: true; readonly path: string; readonly version: string }
  | { readonly ok: false; readonly reason: string };

export type RuntimeFindings = Readonly<Record<RuntimeName, RuntimeFinding>>;

/**
 * Where runsc is: the configured path alone, or else in PATH, or else where the setup puts it. The setup builds one although there
 * is one in PATH when that is older than what Skerry is tested with; the built one goes before it then.
 */
async function findRunsc(configured: string): Promise<string | undefined> {
  if (configured !== '') return isExecutable(configured) ? configured : undefined;
  const cached = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'skerry', 'bin', 'runsc');
  const inPath = findProgram('runsc');
  if (!isExecutable(cached)) return inPath;
  return inPath !== undefined && !(await isTooOld(inPath)) ? inPath : cached;
}

/** By the day in the release's name; a runsc that tells none (made by `go install`) is taken for new enough. */
async function isTooOld(runsc: string): Promise<boolean> {
  const version = await run([runsc, '--version']).then(
    ({ stdout }) => stdout,
    () => '',
  );
  return (/release-(20\d{6})/.exec(version)?.[1] ?? gvisor.oldest) < gvisor.oldest;
}

/** A runsc made by `go install` knows no version of its own; the setup writes beside it which one it built. */
async function versionOf(runsc: string): Promise<string> {
  const version = firstLine((await run([runsc, '--version'])).stdout);
  if (!version.includes('VERSION_MISSING')) return version;
  const built = await readFile(`${runsc}.version`, 'utf8').catch(() => '');
  return built === '' ? version : `runsc ${built.trim()}`;
}

const firstLine = (text: string): string => text.trim().split('\n')[0] ?? '';

async function findRunc(): Promise<RuntimeFinding> {
  const path = findProgram('runc');
  if (!path) return { ok: false, reason: 'runc is not installed' };
  try {
    return { ok: true, path, version: firstLine((await run([path, '--version'])).stdout) };
  } catch (error) {
    return { ok: false, reason: String(error) };
  }
}

const cacheSchema = z.object({
  key: z.string(),
  finding: z.discriminatedUnion('ok', [
    z.object({ ok: z.literal(true), path: z.string(), version: z.string() }),
    z.object({ ok: z.literal(false), reason: z.string() }),
  ]),
});

/** File in the run directory that remembers whether gVisor works. */
export const TRIAL_CACHE = 'gvisor-works.json';

/** Runs a trivial container, once per binary and boot: many machines have runsc and a kernel that it cannot work with. */
async function tryRunsc(configured: string, runDir: string): Promise<RuntimeFinding> {
  const path = await findRunsc(configured);
  if (!path) {
    return {
      ok: false,
      reason: configured ? `${configured} is not an executable file` : 'runsc is not installed',
    };
  }
  const { mtimeMs, size } = await stat(path);
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '');
  const key = `${path} ${mtimeMs} ${size} ${boot.trim()}`;
  const cacheFile = join(runDir, TRIAL_CACHE);
  try {
    const cached = cacheSchema.parse(JSON.parse(await readFile(cacheFile, 'utf8')));
    if (cached.key === key) return cached.finding;
  } catch {
    // no answer yet, or not one that this version understands
  }
  const root = await mkdtemp(join(runDir, 'gvisor-try-'));
  let finding: RuntimeFinding;
  try {
    const version = await versionOf(path);
    await run(
      [path, '--root', root, '--platform=systrap', '--network=none', '--ignore-cgroups', 'do', '/bin/true'],
      { timeoutMs: 20_000 },
    );
    finding = { ok: true, path, version };
  } catch (error) {
    finding = { ok: false, reason: error instanceof Error ? error.message : String(error) };
  } finally {
    await rm(root, { recursive: true, force: true });
  }
  await writeFile(cacheFile, JSON.stringify({ key, finding }));
  return finding;
}

/** Looks at the machine. `runDir` must exist; the answer about gVisor is kept there. */
export async function findRuntimes(runscPath: string, runDir: string): Promise<RuntimeFindings> {
  const [runc, gvisor] = await Promise.all([findRunc(), tryRunsc(runscPath, runDir)]);
  return { runc, gvisor };
}

/**
 * The runtime for a choice. An explicit choice is never replaced by another: gVisor is asked for because the code is untrusted.
 * @throws SkerryError `unavailable` with what is missing.
 */
export function chooseRuntime(
  choice: RuntimeChoice,
  findings: RuntimeFindings,
): { name: RuntimeName; path: string } {
  const order: readonly RuntimeName[] = choice === 'auto' ? ['gvisor', 'runc'] : [choice];
  for (const name of order) {
    const finding = findings[name];
    if (finding.ok) return { name, path: finding.path };
  }
  const reasons = order.map((name) => findings[name]).map((finding) => (finding.ok ? '' : finding.reason));
  throw new SkerryError(
    'unavailable',
    `No usable container runtime (${reasons.join('; ')}). Install one: apt-get install -y runc`,
  );
}
