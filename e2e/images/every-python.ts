/**
 * `npm run test:pythons [-- 3.9 ...]`: builds every Python that a client can ask for (or those named), image registries out of reach, from an empty data
 * directory, and writes what came out to docs/pythons.md, where the rows of others stay. It takes longer than tests may; `pythons.test.ts` has a part of it.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Limiter } from '../../server/src/platform/limiter.ts';
import { CURRENT_PYTHON_CLIENT } from '../support/clients.ts';
import { projectRoot, startServer } from '../support/server.ts';
import { assertWhole, build, type Found, noRegistry } from './support.ts';

/** The only client of those tested that offers Python 3.9. */
const OLD_CLIENT = '1.0.5';
const ADDED_TO = 'debian:12-slim';

interface Case {
  readonly series: string;
  readonly client: string;
  readonly argv: readonly string[];
  readonly call: string;
}

const cases: readonly Case[] = ['3.9', '3.10', '3.11', '3.12', '3.13', '3.14'].flatMap((series) => {
  const client = series === '3.9' ? OLD_CLIENT : CURRENT_PYTHON_CLIENT;
  return [
    { series, client, argv: ['debian_slim', series], call: `debian_slim("${series}")` },
    {
      series,
      client,
      argv: ['add_python', ADDED_TO, series],
      call: `from_registry("${ADDED_TO}", add_python="${series}")`,
    },
  ];
});

const pagePath = join(projectRoot, 'docs/pythons.md');
const named = process.argv.slice(2);
const chosen = cases.filter(({ series }) => named.length === 0 || named.includes(series));
const server = await startServer({ runtime: 'runc', freshData: true, env: noRegistry });
const limiter = new Limiter(2);
const results = await Promise.allSettled(chosen.map((each) => limiter.run(() => row(each))));
await server.stop();
const earlier = existsSync(pagePath) ? readFileSync(pagePath, 'utf8').split('\n') : [];
const rows = cases.flatMap((each) => {
  const result = results[chosen.indexOf(each)];
  if (!result) return earlier.filter((line) => line.startsWith(`| \`${each.call}\` |`));
  return result.status === 'fulfilled' ? [result.value] : [];
});
writeFileSync(pagePath, page(rows));
const failures = results.filter((result) => result.status === 'rejected').map(({ reason }) => reason);
if (failures.length > 0) throw new AggregateError(failures, failures.map(String).join('\n'));

async function row({ series, client, argv, call }: Case): Promise<string> {
  const { found, output } = await build(server, argv, client);
  const [only] = found;
  assertWhole(only, series);
  process.stdout.write(`${call}: ${only.version} in ${only.buildSeconds} s\n`);
  return `| \`${call}\` | ${client} | ${only.version} on Debian ${only.debian} | ${madeOf(output)} | ${built(only)} | ${only.buildSeconds} |`;
}

/** What the build log says. */
function madeOf(output: string): string {
  const [, parts = ''] = / ---> python:\S+ is made of: (.*)\.$/m.exec(output) ?? [];
  const [, added = ''] = / ---> add_python is (.*)\.$/m.exec(output) ?? [];
  const text = added || parts.split('; ').slice(0, 2).join('; ');
  return text || 'not said';
}

function built({ built: fromSource }: Found): string {
  return fromSource === undefined ? '' : fromSource ? 'yes' : 'no';
}

function page(lines: readonly string[]): string {
  return `# Every Python, without a registry

The last result of \`npm run test:pythons\`, two builds at a time from an empty data directory. Each image is built by the Python client with
\`.pip_install("six")\`; in a sandbox of it the names \`python\`, \`python3\`, \`pythonX.Y\` and \`pip\` lead to \`/usr/local/bin\`, \`six\` is imported, \`python -m venv\`
makes an environment with pip, a page is fetched over TLS, and nothing names the machine that the Python was built on.

| image | client | Python | made of | package built from its source | seconds |
| --- | --- | --- | --- | --- | --- |
${lines.join('\n')}
`;
}
