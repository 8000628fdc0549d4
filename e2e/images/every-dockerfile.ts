/**
 * `npm run test:dockerfiles [-- mastodon ...]`: builds every Dockerfile of `strangers/` (or those named) on one server and writes what came of it to docs/dockerfiles.md,
 * where the rows of others stay. `image-command.test.ts` has a few of them.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Limiter } from '../../server/src/platform/limiter.ts';
import { runProgram } from '../support/program.ts';
import { projectRoot } from '../support/server.ts';
import { BuildKit } from './buildkit.ts';
import { buildBase, instructionsOf, readStrangers, type Stranger, tryStranger } from './strangers.ts';

const pagePath = join(projectRoot, 'docs/dockerfiles.md');
const named = process.argv.slice(2);
const strangers = readStrangers();
const chosen = strangers.filter(({ name }) => named.length === 0 || named.includes(name));
const home = mkdtempSync(join(tmpdir(), 'dockerfiles-'));
const tried = (...args: string[]) =>
  runProgram([process.execPath, join(projectRoot, 'cli/bin/skerry.mjs'), ...args], {
    env: { PATH: process.env.PATH ?? '', HOME: home, SKERRY_DATA_DIR: join(home, 'data') },
  });
const skerry = async (...args: string[]): Promise<string> => {
  const { code, stdout, stderr } = await tried(...args);
  if (code !== 0) throw new Error(`skerry ${args.join(' ')}: ${stdout}\n${stderr}`);
  return stdout;
};

const rows = new Map<string, string>();
const failures: unknown[] = [];
let buildKit: BuildKit | undefined;
const started = performance.now();
try {
  await skerry('up', '--port', '0', '--private-registries', '127.0.0.1');
  await buildBase(skerry, home);
  buildKit = await BuildKit.start(join(home, '.buildkit'));
  const limiter = new Limiter(4);
  await Promise.all(
    chosen.map((stranger) =>
      limiter.run(async () => {
        const result = await resultOf(stranger);
        const same = await sameInBuildKit(stranger);
        rows.set(stranger.name, row(stranger, result, same));
        process.stdout.write(`${stranger.name}: ${result}, ${same}\n`);
      }),
    ),
  );
} finally {
  await buildKit?.close();
  await tried('down');
  rmSync(home, { recursive: true, force: true });
}
writeFileSync(pagePath, page());
if (failures.length > 0) throw new AggregateError(failures, failures.map(String).join('\n\n'));

async function resultOf(stranger: Stranger): Promise<string> {
  try {
    await tryStranger(skerry, tried, stranger, home);
    const { refused } = stranger;
    return refused === undefined ? 'built' : `refused: line ${refused.line}`;
  } catch (error) {
    failures.push(error);
    return 'differs';
  }
}

async function sameInBuildKit(stranger: Stranger): Promise<string> {
  if (!buildKit || stranger.refused) return 'not asked';
  try {
    await buildKit.try(stranger);
    return 'same';
  } catch (error) {
    failures.push(error);
    return 'differs';
  }
}

function row({ name, of, dockerfile }: Stranger, result: string, same: string): string {
  return `| [\`${name}\`](../e2e/images/strangers/${name}.Dockerfile) | ${of} | ${instructionsOf(dockerfile).join(', ')} | ${result} | ${same} |`;
}

function page(): string {
  const earlier = existsSync(pagePath) ? readFileSync(pagePath, 'utf8').split('\n') : [];
  const lines = strangers.flatMap(
    ({ name }) => rows.get(name) ?? earlier.find((line) => line.startsWith(`| [\`${name}\`]`)) ?? [],
  );
  const [cpu] = cpus();
  const seconds = Math.round((performance.now() - started) / 1000);
  return `# Dockerfiles of strangers

The last result of \`npm run test:dockerfiles\`: ${chosen.length} of ${strangers.length} in ${seconds} s, four at a time, on ${new Date().toISOString().slice(0, 10)}, ${cpus().length} × ${cpu?.model}. Each is a Dockerfile with the
instructions, flags and stages of a public one in words of our own; its packages and compilers are small programs of the base image that stand in for them. The image must have the
configuration and the files that \`e2e/images/strangers/\` has beside it, or the build must be refused at that line before anything runs. The last column says
whether BuildKit, where it is on the machine, makes an image of the same Dockerfile that has them too.

| | after | instructions | result | BuildKit |
| --- | --- | --- | --- | --- |
${lines.join('\n')}
`;
}
