/**
 * The package `skerry-cli` as its users get it: packed, installed in an empty directory, and every line of the documentation that calls `skerry` run with it, beside a real server. Lines that are
 * none of its are in `elsewhere` below, with where they are run or why they are not.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ModalClient } from 'modal';
import { servingWords } from '../cli/src/calling.ts';
import { run } from '../server/src/platform/command.ts';
import { accessOf, announce, conceal } from './support/command.ts';
import { type DocumentedLine, documentedLines } from './support/docs-commands.ts';
import { installPacked, npmOptions } from './support/packed.ts';
import { type ProgramResult, runProgram } from './support/program.ts';
import { skipWithout } from './support/runtimes.ts';
import { projectRoot, startServer, type TestServer } from './support/server.ts';

/** Lines that this test does not run. */
const elsewhere: readonly (readonly [line: RegExp, why: string])[] = [
  [
    /npx --no-install skerry /,
    'of the clone, before anything is installed: `npm run test:machines` runs them',
  ],
  [
    /^kubectl |\bkubectl .* -- skerry /,
    'take a Pod of a cluster: `npm run test:kubernetes` runs those of the walk',
  ],
  [/skerry run -it /, 'takes a terminal: command-sandboxes.test.ts gives `skerry shell` one'],
  [/skerry connect https:/, 'from another machine: remote.test.ts runs them with the package skerry-connect'],
];

const page = (name: string): DocumentedLine[] => documentedLines.filter((each) => each.page === name);

describe('the package skerry-cli from a packed tarball', () => {
  let server: TestServer;
  let consumer: string;
  let tarball: string;
  let env: Record<string, string>;
  let gvisor: boolean;
  /** Of another machine: it is told where the server is. */
  let remote: Record<string, string>;

  const shell = (line: string, variables: Record<string, string>): Promise<ProgramResult> =>
    runProgram(['sh', '-c', line], { env: variables, cwd: consumer });
  const done = async (line: string, variables = env): Promise<string> => {
    const { code, stdout, stderr } = await shell(line, variables);
    assert.equal(code, 0, `${line}: ${stderr}${stdout}`);
    return stdout;
  };
  const seen = new Set<DocumentedLine>();
  /** Runs the lines of a page, with what stands for something in them put in its place. @returns what each printed */
  const runPage = async (name: string, place: (line: string) => string = (line) => line) => {
    const said: string[] = [];
    for (const each of page(name)) {
      if (seen.has(each) || elsewhere.some(([pattern]) => pattern.test(each.line)) || isOfServer(each))
        continue;
      seen.add(each);
      const stdout = await done(place(each.line));
      if (each.shown) assert.match(stdout, patternOf(each.shown), each.line);
      said.push(stdout);
    }
    return said;
  };

  before(async () => {
    consumer = mkdtempSync(join(tmpdir(), 'command-consumer-'));
    writeFileSync(join(consumer, 'package.json'), '{}');
    tarball = await installPacked('command', consumer);
    gvisor = (await skipWithout('gvisor')) === false;
    server = await startServer({ runtime: gvisor ? 'gvisor' : 'runc', warmPool: 16 });
    announce(server);
    const path = [join(consumer, 'node_modules/.bin'), dirname(process.execPath), process.env.PATH ?? ''];
    const base = { PATH: path.join(delimiter), HOME: consumer };
    const { url, token } = accessOf(server);
    remote = { ...base, SKERRY_URL: url, SKERRY_TOKEN: token };
    env = { ...base, SKERRY_DATA_DIR: server.dataDir };
  });
  after(async () => {
    if (server) conceal(server);
    await server?.stop(); // asserts that nothing is left
    if (consumer) rmSync(consumer, { recursive: true, force: true });
  });

  test('its published shape is sound, and it brings nothing along but licences', async () => {
    await run([join(projectRoot, 'node_modules/.bin/publint'), '--strict', tarball], npmOptions);
    const { stdout } = await run(['npm', 'ls', '--all', '--parseable'], { ...npmOptions, cwd: consumer });
    assert.deepEqual(stdout.trim().split('\n').slice(1), [join(consumer, 'node_modules/skerry-cli')]);
    const licences = readFileSync(join(consumer, 'node_modules/skerry-cli/dist/licences.txt'), 'utf8');
    for (const name of ['commander', 'zod'])
      assert.match(licences, new RegExp(`^${name} [0-9.]+\n[^]*?Copyright`, 'm'));
  });

  test('it says what it is, what there is, and where the rest is', async () => {
    const { version } = JSON.parse(readFileSync(join(projectRoot, 'command/package.json'), 'utf8'));
    assert.equal(await done('skerry --version'), version);
    const help = await done('skerry --help');
    assert.match(help, /^ {2}run .*\n(.*\n)*^ {2}connect /m);
    assert.match(await done('skerry env --help'), /^Usage: skerry env \[options\]/);
    assert.match(await done('skerry completion bash'), /volume/);
    for (const word of servingWords) {
      assert.doesNotMatch(help, new RegExp(`^ {2}${word} `, 'm'));
      const { code, stderr } = await shell(`skerry ${word}`, env);
      assert.deepEqual([code, /comes with the server/.test(stderr)], [2, true], word);
    }
    const mistyped = await shell('skerry rnu', env);
    assert.match(mistyped.stderr, /Did you mean run\?/);
  });

  test('it works from another machine, where it is told of the server', async () => {
    assert.equal(await done(`skerry run --python 3.11 -- echo there`, remote), 'there');
    const lost = await shell('skerry ls', { ...remote, SKERRY_TOKEN: 'ak-1:as-1' });
    assert.notEqual(lost.code, 0);
    assert.match(lost.stderr, /token/i);
  });

  test('docs/command.md', async () => {
    const said = await runPage('docs/command.md');
    assert.deepEqual(said.slice(0, 2), ['42', 'HELLO']);
    assert.match(said[2] ?? '', /^uid=0/);
    const [shown, secretsShown, apps] = [said.at(-6), said.at(-3), said.at(-1)];
    assert.match(shown ?? '', /\d\d:\d\d:\d\d/);
    assert.match(secretsShown ?? '', /^api .* API_KEY$/m);
    assert.doesNotMatch(secretsShown ?? '', /k-1/);
    assert.match(apps ?? '', /^ap-/m);
  });

  test('docs/first-five-minutes.md', async () => {
    writeFileSync(join(consumer, 'sum.py'), 'print(sum(range(10)))\n'); // a line of the page, that calls another program
    const said = await runPage('docs/first-five-minutes.md');
    assert.ok(said.length > 10);
  });

  test('README.md of the package', async () => {
    assert.deepEqual(await runPage('command/README.md'), ['42']);
  });

  test('docs/operations.md and docs/remote.md', async () => {
    process.env.MODAL_SERVER_URL = server.url; // the client has no other way to be told
    const { tokenId: id, tokenSecret: secret } = server.token;
    const client = new ModalClient({ tokenId: id, tokenSecret: secret });
    const made = await client.cpClient.environmentList({});
    if (!made.items.some(({ name }) => name === 'dev'))
      await client.cpClient.environmentCreate({ name: 'dev' });
    client.close();
    const { tokenId } = JSON.parse(await done('skerry token create --json'));
    const said = [
      ...(await runPage('docs/operations.md', (line) => line.replace('ak-…', tokenId))),
      ...(await runPage('docs/remote.md')),
    ];
    assert.match(said.find((each) => /20 sandboxes|\/20/.test(each)) ?? '', /^dev /m);
    for (const each of (await done('skerry token list --json')).split('\n')) {
      await done(`skerry token revoke ${JSON.parse(each).tokenId}`);
    }
    await done('skerry environment quota dev --no-quotas');
  });

  test('docs/warm-pool.md', async () => {
    const [said] = await runPage('docs/warm-pool.md');
    assert.match(said ?? '', /^[5-9] wait\.$/);
  });

  test('docs/memory-snapshots.md', async (t) => {
    if (!gvisor) return t.skip('gVisor does not work here');
    const sandbox = await done('skerry run -d --python 3.11 -- sleep infinity');
    const checkpoints: string[] = [];
    const place = (line: string) =>
      line.replace('SANDBOX', sandbox).replace('CHECKPOINT', checkpoints[0] ?? 'none');
    const lines = page('docs/memory-snapshots.md');
    // What removes comes last: the page has it before what goes on from what was kept.
    const [removing, others] = [lines.filter(isRemoval), lines.filter((each) => !isRemoval(each))];
    for (const each of [...others, ...removing]) {
      seen.add(each);
      const stdout = await done(place(each.line));
      if (/checkpoint create/.test(each.line)) checkpoints.push(stdout);
    }
    await done(`skerry rm $(skerry ls --json | grep -o '"sb-[^"]*"' | tr -d '"')`);
  });

  test('no line of the documentation is left', () => {
    const left = documentedLines.filter(
      (each) =>
        !seen.has(each) && !elsewhere.some(([pattern]) => pattern.test(each.line)) && !isOfServer(each),
    );
    assert.deepEqual(
      left.map(({ page: name, line }) => `${name}: ${line}`),
      [],
    );
    for (const [pattern, why] of elsewhere) {
      assert.ok(
        documentedLines.some(({ line }) => pattern.test(line)),
        `${pattern}, ${why}: there is none`,
      );
    }
  });
});

const isRemoval = ({ line }: DocumentedLine): boolean => line.startsWith('skerry checkpoint delete');

/** Of a server itself: the package says where it is, and tests of the server run it. */
const isOfServer = ({ line }: DocumentedLine): boolean =>
  servingWords.includes(/(?:^| )skerry (\S+)/.exec(line)?.[1] ?? '');

/** What is shown, perhaps with lines of other sandboxes between: `…` is anything. */
function patternOf(shown: readonly string[]): RegExp {
  const lines = shown.map(
    (each) => `^${each.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&').replaceAll('…', '.*')}$`,
  );
  return new RegExp(lines.join('\\n(?:.*\\n)*'), 'm');
}
