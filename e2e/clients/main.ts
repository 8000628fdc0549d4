/**
 * A short program through the first and the last release of each minor version of every official client: `npm run test:clients [-- WORD ...]`. Words choose
 * releases by language or version (`python`, `javascript 0.9`, `1.3.0`). A run of all writes the table of docs/compatibility.md.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../server/src/platform/command.ts';
import { runProgram } from '../support/program.ts';
import { definedEnvironment, projectRoot, startServer, type TestServer } from '../support/server.ts';
import { install } from './installations.ts';
import { type Language, type Release, releasesToTry } from './releases.ts';

const languages: readonly Language[] = ['Python', 'JavaScript', 'Go'];
const clientsDir = join(projectRoot, '.skerry/clients');
const page = join(projectRoot, 'docs/compatibility.md');
const BEGIN = '<!-- every release: begin, written by npm run test:clients -->';
const END = '<!-- every release: end -->';
/** The first program of a client may have to wait for an image. */
const PROGRAM_TIMEOUT_MS = 600_000;
/** Releases at once: installing is mostly waiting. */
const LANES = 4;

interface Outcome {
  readonly release: Release;
  /** How it writes files; undefined when the program failed. */
  readonly files: string | undefined;
  readonly error: string;
}

const words = process.argv.slice(2).map((word) => word.toLowerCase());
mkdirSync(clientsDir, { recursive: true });
const python = await pythonWithPip();
const all: Release[] = [];
for (const language of languages) all.push(...(await releasesToTry(language, python, clientsDir)));
const chosen = all.filter(({ language, version, minor }) =>
  words.every((word) => [language.toLowerCase(), version, minor].includes(word)),
);
say(`${chosen.length} of ${all.length} releases`);

const scratch = mkdtempSync(join(tmpdir(), 'every-client-'));
const outcomes = new Map<Release, Outcome>();
const server = await startServer({
  runtime: 'runc',
  freshData: process.env.SKERRY_E2E_DATA_DIR === undefined,
});
try {
  let interrupted = false;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => (interrupted = true));
  const queue = chosen.values();
  const lane = async () => {
    for (const release of queue) {
      if (interrupted) return;
      const outcome = await attempt(server, release);
      outcomes.set(release, outcome);
      const result = outcome.files ? `works (${outcome.files})` : outcome.error;
      say(`${outcomes.size}/${chosen.length} ${release.language} ${release.version}: ${result}`);
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
} finally {
  await server.stop();
  rmSync(scratch, { recursive: true, force: true });
}
const inOrder = chosen.flatMap((release) => outcomes.get(release) ?? []);
const failed = inOrder.filter(({ files }) => files === undefined).length;
say(failed === 0 ? 'All work.' : `${failed} failed.`);
if (inOrder.length === all.length)
  writeFileSync(page, withTable(readFileSync(page, 'utf8'), await tableOf(inOrder)));
process.exitCode = failed === 0 ? 0 : 1;

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** A virtual environment with pip, so that the machine's Python is left alone. */
async function pythonWithPip(): Promise<string> {
  const venv = join(clientsDir, 'pip');
  await run(['python3', '-m', 'venv', venv], { env: definedEnvironment(), timeoutMs: 120_000 });
  return join(venv, 'bin/python');
}

async function attempt(server: TestServer, release: Release): Promise<Outcome> {
  const directory = join(clientsDir, `${release.language.toLowerCase()}-${release.version}`);
  try {
    const command = await install(release, python, directory);
    const result = await runProgram(command, {
      env: { ...server.clientEnv, HOME: scratch, PYTHONDONTWRITEBYTECODE: '1', PYTHONWARNINGS: 'ignore' },
      cwd: directory,
      timeoutMs: PROGRAM_TIMEOUT_MS,
    });
    const line = result.stdout.split('\n').findLast((each) => each.startsWith('{'));
    if (result.code !== 0 || line === undefined) {
      const lines = result.stderr.split('\n').filter((each) => /\w/.test(each));
      // Node prints its own version below an error and its stack.
      const said = lines.findLast((each) => /^\S*Error\b/.test(each)) ?? lines.at(-1);
      return { release, files: undefined, error: said ?? `ended with ${result.code}` };
    }
    // The programs of this folder write nothing else.
    return { release, files: (JSON.parse(line) as { files: string }).files, error: '' };
  } catch (error) {
    return { release, files: undefined, error: String(error).split('\n')[0] ?? '' };
  }
}

async function tableOf(outcomes: readonly Outcome[]): Promise<string> {
  const { stdout } = await run([python, '--version']);
  const cell = (text: string) => text.replaceAll('|', '\\|').slice(0, 200);
  const said = ({ files, error }: Outcome) => (files === undefined ? `**fails**: ${cell(error)}` : 'works');
  const rows = [...Map.groupBy(outcomes, ({ release }) => `${release.language} ${release.minor}`)].map(
    ([minor, tried]) => {
      const results = [...new Set(tried.map(said))];
      const result =
        results.length === 1
          ? results[0]
          : tried.map((outcome) => `${outcome.release.version} ${said(outcome)}`).join('; ');
      const files = [...new Set(tried.flatMap(({ files }) => files ?? []))].join(', ');
      return `| ${minor} | ${tried.map(({ release }) => release.version).join(', ')} | ${result} | ${files} |`;
    },
  );
  const date = new Date().toISOString().slice(0, 10);
  return [
    `On ${date}, with ${stdout.trim()} and Node ${process.versions.node}; create, exec, output, exit code, a file, in Python also files of a volume, terminate.`,
    '',
    '| client | tried | result | files by |',
    '|---|---|---|---|',
    ...rows,
  ].join('\n');
}

/** The page with another table. @throws when it has no place for one */
function withTable(text: string, table: string): string {
  const begin = text.indexOf(BEGIN);
  const end = text.indexOf(END);
  if (begin < 0 || end < begin) throw new Error(`${page} has no place for the table`);
  return `${text.slice(0, begin + BEGIN.length)}\n${table}\n${text.slice(end)}`;
}
