/** `skerry image`: builds, archives and names beside the official client. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { parseDockerfile } from '../../server/src/images/dockerfile/parse.ts';
import { run } from '../../server/src/platform/command.ts';
import { pythonWith } from '../support/clients.ts';
import { runProgram } from '../support/program.ts';
import { projectRoot, settledInventory } from '../support/server.ts';
import { patient } from '../support/slowness.ts';
import { buildBase, readStrangers, tryStranger } from './strangers.ts';

describe('images from the command line', () => {
  const home = mkdtempSync(join(tmpdir(), 'image-command-'));
  const dataDir = join(home, 'data');
  const shell = { PATH: process.env.PATH ?? '', HOME: home };
  const tried = async (...args: string[]) =>
    runProgram([process.execPath, join(projectRoot, 'cli/bin/skerry.mjs'), ...args, '--data-dir', dataDir], {
      env: shell,
      timeoutMs: patient(180_000),
    });
  const skerry = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await tried(...args);
    assert.equal(code, 0, stderr);
    return stdout;
  };
  const lines = (text: string) =>
    text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
  let env: Record<string, string>;

  before(async () => {
    await skerry('up', '--port', '0');
    env = JSON.parse(await skerry('env', '--format', 'json'));
  });
  after(async () => {
    await skerry('down');
    assert.deepEqual(await settledInventory(dataDir), []);
    rmSync(home, { recursive: true, force: true });
  });

  const context = join(home, 'context');
  const put = (name: string, text: string) => writeFileSync(join(context, name), text);

  test('a build takes the files of a directory but those in .dockerignore, arguments and secrets, and tells all it said again', async () => {
    mkdirSync(join(context, 'logs'), { recursive: true });
    await run(['cp', '/bin/busybox', context]);
    put('kept.txt', 'kept');
    put('secret.key', 'not for the image');
    put('logs/old.log', 'old');
    put('logs/kept.log', 'kept');
    writeFileSync(join(home, 'token'), 'hush-hush');
    put('.dockerignore', '# comment\n**/*.key\nlogs/*\n!logs/kept.log\n');
    put(
      'Dockerfile',
      [
        'FROM scratch',
        'COPY busybox /bin/busybox',
        'RUN ["/bin/busybox", "--install", "-s", "/bin"]',
        'ENV PATH=/bin',
        'ARG WHAT=nothing',
        'COPY . /context',
        'RUN --mount=type=secret,id=TOKEN echo "$WHAT, $(wc -c </run/secrets/TOKEN) bytes: $(cat /run/secrets/TOKEN)" && cd context && find . -type f | sort',
        'CMD ["sleep", "60"]',
      ].join('\n'),
    );
    const secret = `id=TOKEN,src=${join(home, 'token')}`;
    const said = await skerry(
      'image',
      'build',
      context,
      '-t',
      'tools:1',
      '--build-arg',
      'WHAT=word',
      '--secret',
      secret,
    );
    assert.match(said, /word, 9 bytes: \*+\n/);
    assert.match(
      said,
      /\n\.\/\.dockerignore\n\.\/Dockerfile\n\.\/busybox\n\.\/kept\.txt\n\.\/logs\/kept\.log\n/,
    );
    assert.doesNotMatch(said, /hush-hush|secret\.key|old\.log/);

    const again = lines(await skerry('image', 'logs', 'tools:1', '--json'));
    assert.equal(
      again
        .map(({ text }) => text)
        .join('')
        .trim(),
      said,
    );
    const listing = again.find(({ text }) => text.includes('kept.log'));
    assert.deepEqual([listing.step, listing.stream], [7, 'stdout']);
    assert.ok(Math.abs(listing.timeMs - Date.now()) < 3_600_000);
  });

  test('a build that fails says why and has no name', async () => {
    put('Dockerfile.bad', 'FROM tools:1\nRUN echo before && exit 3\n');
    const { code, stdout, stderr } = await tried(
      'image',
      'build',
      context,
      '-f',
      join(context, 'Dockerfile.bad'),
      '-t',
      'bad',
    );
    assert.equal(code, 1);
    assert.match(stdout, /before/);
    assert.match(stderr, /Dockerfile line 2/);
    assert.match((await tried('image', 'history', 'bad')).stderr, /'bad' not found/);
  });

  test('`ls` and `history` show what there is and what it came out of', async () => {
    const listed = lines(await skerry('image', 'ls', '--named', '--json'));
    assert.deepEqual(
      listed.map(({ names, state }) => [names, state]),
      [[['tools:1'], 'ready']],
    );
    assert.ok(listed[0].bytes > 100_000);
    assert.match(await skerry('image', 'ls'), /^IMAGE +NAMES +STATE +CREATED +LAYERS +SIZE\nim-.* failed /);
    const steps = lines(await skerry('image', 'history', 'tools:1', '--json'));
    assert.deepEqual(
      steps.map(({ text, bytes }) => [text.split(' ')[0], bytes > 0]),
      [
        ['COPY', true],
        ['RUN', true],
        ['ENV', false],
        ['ARG', false],
        ['COPY', true],
        ['RUN', false],
        ['CMD', false],
      ],
    );
    assert.match(
      await skerry('image', 'history', 'tools:1'),
      /^CREATED +SIZE +STEP\n\d{4}-.*iB +COPY busybox/,
    );
  });

  test('what is exported, skopeo reads; what it writes is imported, and is there for FROM, from_registry and from_name', async () => {
    const file = join(home, 'tools.tar');
    await skerry('image', 'export', 'tools:1', '-o', file);
    const { stdout } = await run(['skopeo', 'inspect', '--config', `docker-archive:${file}:tools:1`]);
    assert.deepEqual(JSON.parse(stdout).config.Cmd, ['sleep', '60']);
    const other = join(home, 'other.tar');
    await run(['skopeo', 'copy', '--quiet', `oci-archive:${file}`, `oci-archive:${other}:team/imported:2`]);
    const removed = (await skerry('image', 'rm', 'tools:1', '--json'))
      .split('\n')
      .map((line) => JSON.parse(line).removed);
    assert.match(removed.join(' '), /^tools:1 im-/);
    assert.equal(await skerry('image', 'ls', '--named'), 'There is no image.');

    const { id, names } = JSON.parse(await skerry('image', 'import', other, '--json'));
    assert.deepEqual(names, ['team/imported:2']);
    const tagged = JSON.parse(await skerry('image', 'tag', id, 'imported', '--json'));
    assert.deepEqual(tagged, { image: id, name: 'imported' });
    const program = `
import modal
app = modal.App.lookup("image-command", create_if_missing=True)
for image in (
    modal.Image.from_registry("team/imported:2").run_commands("echo more > /more"),
    modal.Image.from_registry("docker.io/team/imported:2"),
    modal.Image.from_name("imported"),
):
    sandbox = modal.Sandbox.create(app=app, image=image)
    print(sandbox.exec("cat", "/context/kept.txt", "/more").stdout.read().strip())
    sandbox.terminate()
`;
    const {
      code,
      stdout: read,
      stderr,
    } = await runProgram([pythonWith(), '-c', program], {
      env: { ...shell, ...env },
      timeoutMs: patient(180_000),
    });
    assert.equal(code, 0, stderr);
    assert.equal(read, 'keptmore\nkept\nkept');
  });

  test('what is no archive, no image and no registry is refused in words', async () => {
    put('garbage', 'garbage'.repeat(1000));
    assert.match((await tried('image', 'import', join(context, 'garbage'))).stderr, /the image is not one/);
    assert.match((await tried('image', 'import', join(home, 'missing'))).stderr, /There is no file/);
    assert.match(
      (await tried('image', 'export', 'missing', '-o', join(home, 'x'))).stderr,
      /'missing' not found/,
    );
    assert.match((await tried('image', 'tag', 'imported', 'im-9')).stderr, /does not begin with 'im-'/);
    assert.match((await tried('image', 'push', 'imported', '127.0.0.1:9/x')).stderr, /not a public address/);
    assert.match((await tried('image', 'pull', '127.0.0.1:9/x')).stderr, /not a public address/);
    assert.equal((await tried('image', 'push', 'imported', 'x', '--username', 'me')).code, 2);
  });

  test('Dockerfiles in the manner of strangers: all are read, and a few are built; `npm run test:dockerfiles` builds them all', async () => {
    const strangers = readStrangers();
    assert.ok(strangers.length >= 40);
    for (const { name, dockerfile, refused } of strangers) {
      const read = () => parseDockerfile(dockerfile);
      // A platform is told where a stage is needed.
      if (refused && !/platform|builds for/.test(refused.message))
        assert.throws(read, new RegExp(`line ${refused.line}: ${refused.message}`), name);
      else assert.doesNotThrow(read, name);
    }
    const scratch = join(home, 'strangers');
    await buildBase(skerry, scratch);
    for (const stranger of strangers.filter(({ name }) => ['halo', 'traefik', 'workspace'].includes(name)))
      await tryStranger(skerry, tried, stranger, scratch);
  });
});
