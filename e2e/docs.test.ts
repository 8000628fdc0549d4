/** The documentation is true: generated pages match their source, links lead somewhere, commands exist. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { describe, test } from 'node:test';
import { createProgram } from '../cli/src/main.ts';
import { configurationPage } from '../server/src/config/configuration-page.ts';
import { projectRoot } from './support/server.ts';

const markdownIn = (dir: string): string[] =>
  readdirSync(join(projectRoot, dir), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => join(dir, name));

const pages = [
  ...readdirSync(projectRoot).filter((name) => name.endsWith('.md')),
  ...markdownIn('docs'),
  'agent/PROTOCOL.md',
  ...['sdk', 'modbox-sdk', 'connect', 'command', 'examples/modbox'].map((name) => `${name}/README.md`),
];
const read = (page: string) => readFileSync(join(projectRoot, page), 'utf8');

describe('the documentation', () => {
  test('docs/configuration.md is what `npm run generate` makes', () => {
    assert.equal(read('docs/configuration.md'), configurationPage());
  });

  for (const page of pages) {
    test(`${page}: links lead to files that exist`, () => {
      for (const [, target = ''] of read(page).matchAll(/\]\(([^)#\s]+)[^)]*\)/g)) {
        if (/^[a-z]+:/.test(target)) continue;
        const path = join(projectRoot, dirname(page), target);
        assert.ok(existsSync(path), `${page} links to ${relative(projectRoot, path)}`);
      }
    });

    test(`${page}: files of the project that it names exist`, () => {
      for (const [, path = ''] of read(page).matchAll(
        /`((?:server|agent|cli|e2e|bench|scripts|docs|proto)\/[\w./-]+\.\w+)`/g,
      )) {
        assert.ok(existsSync(join(projectRoot, path)), `${page} names ${path}`);
      }
    });
  }

  test('every `skerry` command and every npm script that a page names exists', async () => {
    const commands = new Set((await createProgram()).commands.map((command) => command.name()));
    const scripts = new Set(Object.keys(JSON.parse(read('package.json')).scripts));
    for (const page of pages) {
      for (const [, name = ''] of read(page).matchAll(
        /(?:`|\$\(|^|no-install )skerry ([a-z]+(?:-[a-z]+)*)/gm,
      )) {
        assert.ok(commands.has(name), `${page} names skerry ${name}`);
      }
      for (const [, name = ''] of read(page).matchAll(/npm run ([a-z]+)/g)) {
        assert.ok(scripts.has(name), `${page} names npm run ${name}`);
      }
    }
  });

  test('docs/architecture.md has a floor for every room of the server, and every import goes down', () => {
    const rooms = readdirSync(join(projectRoot, 'server/src')).filter((name) => !/\.test\.\w+$/.test(name));
    const floors = new Map<string, number>();
    for (const [, floor, words = ''] of read('docs/architecture.md').matchAll(/^\| (\d+) \| (.*) \|$/gm)) {
      for (const [, name = ''] of words.matchAll(/`([\w.-]+)\/?`/g)) floors.set(name, Number(floor));
    }
    assert.deepEqual(
      rooms.filter((room) => !floors.has(room)),
      [],
    );
    const up = serverSources().flatMap(({ room, imports }) =>
      imports
        .filter((other) => other !== room && (floors.get(other) ?? 0) >= (floors.get(room) ?? 0))
        .map((other) => `${room} -> ${other}`),
    );
    assert.deepEqual(up, []);
  });
});

/** The room of each file of the server but tests, and the rooms that it imports from. */
function serverSources(): { readonly room: string; readonly imports: readonly string[] }[] {
  const root = join(projectRoot, 'server/src');
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter(
    (name) => name.endsWith('.ts') && !/\.test\.ts$|(^|\/)(testing|gen)\//.test(name),
  );
  const roomOf = (file: string): string => file.split('/')[0] ?? '';
  return files.map((file) => {
    const text = readFileSync(join(root, file), 'utf8');
    const targets = [...text.matchAll(/from '(\.[^']+\.ts)'/g)].map(([, target = '']) =>
      join(dirname(file), target),
    );
    return { room: roomOf(file), imports: targets.map(roomOf) };
  });
}
