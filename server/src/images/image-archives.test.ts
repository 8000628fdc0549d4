/** Images through files: what others write is read, what is written others read, and nothing of a hostile file gets anywhere. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { lstat, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { describe, it, type TestContext } from 'node:test';
import { gzipSync } from 'node:zlib';
import { pack } from 'tar-stream';
import type { ImageId } from '../ids.ts';
import { run } from '../platform/command.ts';
import { makeTar, startRegistry, type TestEntry } from './bases/testing-registry.ts';
import type { ImageService } from './image-service.ts';
import { thisPlatform } from './oci/platform.ts';
import { DEFINITION, openImages, resultOf } from './testing/images.ts';

const signal = AbortSignal.timeout(120_000);
const isRoot = process.getuid?.() === 0;
const sha256 = (data: Buffer) => `sha256:${createHash('sha256').update(data).digest('hex')}`;

/** What `docker save` writes of an image with these layers; `also` adds or replaces files of the archive. */
async function dockerArchive(
  layers: readonly (readonly TestEntry[])[],
  { names = ['team/app:1'], also = [] as readonly TestEntry[], config = {} as object } = {},
): Promise<Buffer> {
  const tars = await Promise.all(layers.map(makeTar));
  const image = JSON.stringify({
    ...{ architecture: thisPlatform, os: 'linux', config },
    rootfs: { type: 'layers', diff_ids: tars.map(sha256) },
  });
  const manifest = [{ Config: 'c.json', RepoTags: names, Layers: tars.map((_, at) => `${at}/layer.tar`) }];
  const files = new Map<string, TestEntry>(
    [{ name: 'c.json', text: image }, { name: 'manifest.json', text: JSON.stringify(manifest) }, ...also].map(
      (entry) => [entry.name, entry],
    ),
  );
  const archive = pack();
  for (const [at, tar] of tars.entries()) archive.entry({ name: `${at}/layer.tar` }, tar);
  for (const { text, ...header } of files.values()) archive.entry(header, text ?? '');
  archive.finalize();
  return buffer(archive as AsyncIterable<Buffer>); // a stream of buffers; the package's type says less
}

/** An OCI archive that leaves its layer to another address. */
function foreignArchive(): Promise<Buffer> {
  const blob = (value: object) => {
    const text = JSON.stringify(value);
    const digest = sha256(Buffer.from(text));
    return { digest, entry: { name: `blobs/${digest.replace(':', '/')}`, text } };
  };
  const { digest } = blob({});
  const layer = { digest, size: 1, urls: ['https://registry.example/layer'] };
  const manifest = blob({ config: { digest, size: 2 }, layers: [layer] });
  const index = JSON.stringify({ manifests: [{ digest: manifest.digest }] });
  return makeTar([{ name: 'index.json', text: index }, manifest.entry, blob({}).entry]);
}

async function imported(images: ImageService, archive: Buffer, name?: string) {
  async function* pieces() {
    for (let at = 0; at < archive.length; at += 50_000) yield archive.subarray(at, at + 50_000);
  }
  const lines: string[] = [];
  return images.archives.import(pieces(), name, (line) => lines.push(line), signal);
}

async function exported(t: TestContext, images: ImageService, ...names: string[]): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'skerry-export-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  const file = join(directory, 'image.tar');
  const wanted = names.map((name) => ({ id: images.getByName(name), names: [name] }));
  await writeFile(file, images.archives.export(wanted, signal));
  return file;
}

async function built(images: ImageService, lines: readonly string[]): Promise<ImageId> {
  const { id, result } = await images.getOrBuild({ ...DEFINITION, dockerfileLines: lines });
  assert.equal((result ?? (await resultOf(images, id)))?.kind, 'success');
  return id;
}

const inspected = async (transport: string, file: string) =>
  JSON.parse((await run(['skopeo', 'inspect', '--config', '--raw', `${transport}:${file}`])).stdout);

describe('archives of images', { skip: isRoot ? false : 'needs root' }, () => {
  it('what is exported, skopeo reads as an archive of either kind, with all layers, and equal images give equal bytes', async (t) => {
    const { images } = await openImages(t);
    const id = await built(images, [
      'FROM scratch',
      'ENV A=1',
      'COPY <<EOF /etc/one',
      'one',
      'EOF',
      'COPY --chmod=4755 <<EOF /bin/two',
      'two',
      'EOF',
      'CMD ["/bin/two"]',
      'MAINTAINER me',
      'VOLUME /data',
      'HEALTHCHECK --retries=2 CMD ["/bin/two"]',
    ]);
    images.publish(id, 'app:1');
    const file = await exported(t, images, 'app:1');
    for (const transport of ['oci-archive', 'docker-archive']) {
      const { author, config, history, rootfs } = await inspected(transport, file);
      const path = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
      assert.deepEqual(config.Env, [path, 'A=1']);
      assert.deepEqual([config.Cmd, author, config.Volumes], [['/bin/two'], 'me', { '/data': {} }]);
      assert.deepEqual(config.Healthcheck, { Test: ['CMD', '/bin/two'], Retries: 2 });
      assert.equal(rootfs.diff_ids.length, 2);
      assert.deepEqual(
        history.map((step: { created_by: string; empty_layer?: boolean }) => [
          step.created_by,
          step.empty_layer === true,
        ]),
        [
          ['ENV A=1', true],
          ['COPY <<EOF /etc/one', false],
          ['COPY --chmod=4755 <<EOF /bin/two', false],
          ['CMD ["/bin/two"]', true],
          ['MAINTAINER me', true],
          ['VOLUME /data', true],
          ['HEALTHCHECK --retries=2 CMD ["/bin/two"]', true],
        ],
      );
      // The layers too, which are checked against what the configuration says of them.
      const copy = `${file}.${transport}`;
      await run(['skopeo', 'copy', '--quiet', `${transport}:${file}`, `dir:${copy}`]);
      const sizes = await Promise.all(
        (await readdir(copy)).map(async (name) => (await lstat(join(copy, name))).size),
      );
      assert.ok(sizes.every((size) => size > 0));
    }
    const { stdout } = await run(['skopeo', 'inspect', '--format={{.Digest}}', `oci-archive:${file}:app:1`]);
    assert.match(stdout, /^sha256:/);
    assert.ok((await readFile(file)).equals(await readFile(await exported(t, images, 'app:1'))));
  });

  it('what is imported is what was exported: files, modes, removed files, configuration; FROM finds it by each way to write its name', async (t) => {
    const here = await openImages(t);
    const first = [
      { name: 'etc/', type: 'directory', mode: 0o750 },
      { name: 'etc/old', text: 'old' },
      { name: 'opt/a/b', text: 'below' },
      {
        name: 'bin/tool',
        text: '#!/bin/sh\n',
        mode: 0o4755,
        uid: 7,
        gid: 8,
        mtime: new Date(1_000_000_000_000),
      },
      { name: 'bin/again', type: 'link', linkname: 'bin/tool' },
      { name: 'bin/link', type: 'symlink', linkname: '../../../../etc/old' },
      { name: `${'long/'.repeat(40)}name`, text: 'long' },
    ] as const;
    const second = [
      { name: 'etc/.wh.old' },
      { name: 'opt/.wh..wh..opq' },
      { name: 'opt/new', text: 'new' },
      { name: `${'long/'.repeat(40)}.wh.name` },
    ];
    const archive = await dockerArchive([first, second], {
      names: ['docker.io/library/thing:1.2', 'ghcr.io/team/thing:x'],
      config: {
        ...{ Env: ['K=v=w'], WorkingDir: '/opt', StopSignal: 'SIGINT', Shell: ['/bin/bash', '-c'] },
        ...{ Volumes: { '/data': {} }, Healthcheck: { Test: ['CMD', 'true'], Interval: 30e9, Retries: 3 } },
      },
    });
    const [image] = await imported(here.images, gzipSync(archive));
    assert.deepEqual(image?.names, ['thing:1.2', 'ghcr.io/team/thing:x']);
    const file = await exported(t, here.images, 'thing:1.2');

    const there = await openImages(t);
    const [again] = await imported(there.images, await readFile(file));
    assert.ok(again);
    const { config, layers } = there.images.get(again.id);
    assert.deepEqual(
      [config.env, config.workdir, config.stopSignal, config.shell],
      [{ K: 'v=w' }, '/opt', 'SIGINT', ['/bin/bash', '-c']],
    );
    assert.deepEqual(
      [config.volumes, config.healthcheck],
      [['/data'], { test: ['CMD', 'true'], intervalNs: 30e9, retries: 3 }],
    );
    assert.equal(layers.length, 2);
    const [low = '', high = ''] = layers.map((layer) => join(there.layers, layer));
    const tool = await lstat(join(low, 'bin/tool'));
    assert.deepEqual(
      [tool.mode & 0o7777, tool.uid, tool.gid, tool.nlink, tool.mtimeMs],
      [0o4755, 7, 8, 2, 1e12],
    );
    assert.equal((await lstat(join(low, 'etc'))).mode & 0o7777, 0o750);
    for (const gone of ['etc/old', 'opt/a', `${'long/'.repeat(40)}name`])
      assert.ok((await lstat(join(high, gone))).isCharacterDevice(), gone);
    assert.equal(await readFile(join(high, 'opt/new'), 'utf8'), 'new');
    for (const name of ['thing:1.2', 'docker.io/library/thing:1.2', 'index.docker.io/library/thing:1.2']) {
      await built(there.images, [`FROM ${name}`, 'COPY --from=thing:1.2 /opt/new /copied']);
    }
  });

  it('a directory that hides what is below becomes the mark of that, and other attributes stay', async (t) => {
    const { images, layers } = await openImages(t);
    await imported(
      images,
      await dockerArchive([
        [
          { name: 'd/', type: 'directory' },
          { name: 'd/f', text: 'f' },
        ],
      ]),
    );
    const [layer = ''] = images.get(images.getByName('team/app:1')).layers;
    execFileSync('setfattr', ['-n', 'trusted.overlay.opaque', '-v', 'y', join(layers, layer, 'd')]);
    execFileSync('setfattr', ['-n', 'user.kept', '-v', 'yes', join(layers, layer, 'd/f')]);
    const file = await exported(t, images, 'team/app:1');
    const unpacked = `${file}.d`;
    await mkdir(unpacked);
    execFileSync('tar', ['-xf', file, '-C', unpacked]);
    const blobs = join(unpacked, 'blobs/sha256');
    const [{ Layers }] = JSON.parse(await readFile(join(unpacked, 'manifest.json'), 'utf8'));
    assert.equal((await readdir(blobs)).length, 3);
    const listed = execFileSync('tar', ['-tzf', join(unpacked, Layers[0])], { encoding: 'utf8' });
    assert.deepEqual(listed.trim().split('\n'), ['./', './d/', './d/.wh..wh..opq', './d/f']);
    const attributes = execFileSync('tar', ['--xattrs', '-tvvzf', join(unpacked, Layers[0])], {
      encoding: 'utf8',
    });
    assert.match(attributes, /user\.kept/);
    assert.doesNotMatch(attributes, /overlay/);
  });

  it('refuses what leads outside, lies, or is no image, and leaves nothing', async (t) => {
    const { images, layers } = await openImages(t);
    const file = [{ name: 'f', text: 'f' }];
    const bad: Record<string, [Buffer, RegExp]> = {
      'a path out of the archive': [
        await dockerArchive([file], { also: [{ name: '../../../tmp/skerry-out', text: 'x' }] }),
        /outside of it/,
      ],
      'an absolute path': [
        await dockerArchive([file], { also: [{ name: '/tmp/skerry-out', text: 'x' }] }),
        /outside of it/,
      ],
      'a link out of it': [
        await dockerArchive([file], { also: [{ name: 'c.json', type: 'symlink', linkname: '/etc/passwd' }] }),
        /outside of it/,
      ],
      'a link up and out of it': [
        await dockerArchive([file], {
          also: [{ name: 'x/c', type: 'symlink', linkname: '../../etc/passwd' }],
        }),
        /outside of it/,
      ],
      'a link to nothing': [
        await dockerArchive([file], { also: [{ name: 'c.json', type: 'link', linkname: 'etc/passwd' }] }),
        /does not have/,
      ],
      'a device': [
        await dockerArchive([file], {
          also: [{ name: 'null', type: 'character-device', devmajor: 1, devminor: 3 }],
        }),
        /neither file nor directory/,
      ],
      'a layer that is another': [
        await dockerArchive([file], {
          also: [{ name: '0/layer.tar', text: (await makeTar([])).toString('latin1') }],
        }),
        /not what its configuration says/,
      ],
      'a layer that is missing': [
        await dockerArchive([file], {
          also: [{ name: 'manifest.json', text: '[{"Config":"c.json","Layers":["no/layer.tar"]}]' }],
        }),
        /has no "no\/layer.tar"/,
      ],
      'a layer that leads out of the image': [
        await dockerArchive([[{ name: '../../out', text: 'x' }]]),
        /outside of it/,
      ],
      'no image': [await makeTar(file), /has no "index.json"/],
      'no archive': [Buffer.alloc(2000, 'x'), /damaged|no "index.json"/],
      'a layer that is kept elsewhere': [await foreignArchive(), /layer 1 of the image is a foreign one/],
      'an image of another machine': [
        await dockerArchive([file], {
          also: [{ name: 'c.json', text: '{"architecture":"s390x","rootfs":{"diff_ids":[]}}' }],
        }),
        /not made for linux/,
      ],
    };
    for (const [what, [archive, why]] of Object.entries(bad)) {
      await assert.rejects(imported(images, archive), why, what);
    }
    const many = Array.from({ length: 10_001 }, (_, at) => ({ name: `n${at}/`, type: 'directory' as const }));
    await assert.rejects(imported(images, await makeTar(many)), /more than 10000 entries/);
    // The size that a header claims counts, before any of it is read.
    const claimed = await makeTar([{ name: 'big', text: '' }]);
    claimed.write('77777777777', 124);
    await assert.rejects(imported(images, claimed), /more than Skerry allows|damaged/);
    await assert.rejects(
      imported(images, await dockerArchive([file, file]).then((one) => one.subarray(0, 3000))),
    );
    assert.deepEqual(await readdir(layers), []);
    assert.deepEqual(await readdir(join(layers, '../tmp')), []);
    assert.deepEqual(images.catalog.list(), []);
    await assert.rejects(lstat('/tmp/skerry-out'));
  });

  it('several images keep their names, and one can be given another', async (t) => {
    const { images } = await openImages(t);
    const archive = await dockerArchive([[{ name: 'f', text: 'f' }]], {
      names: ['One:bad', 'one:a', 'two:b'],
    });
    const [image] = await imported(images, archive, 'renamed');
    assert.equal(images.getByName('renamed'), image?.id);
    await imported(images, execFileSync('xz', ['-c'], { input: archive }));
    const file = await exported(t, images, 'one:a', 'two:b', 'renamed');
    assert.deepEqual(
      (await run(['skopeo', 'list-tags', `docker-archive:${file}`])).stdout.match(/"[a-z0-9]+:\w+"/g)?.sort(),
      ['"one:a"', '"renamed:latest"', '"two:b"'],
    );
    await assert.rejects(imported(images, await readFile(file), 'name'), /holds \d images/);
    assert.equal((await imported(images, await readFile(file))).length, 3);
  });

  it('an image that was sent to a registry comes back from it, with credentials and not without', async (t) => {
    const authorization = `Basic ${Buffer.from('me:secret').toString('base64')}`;
    await using registry = await startRegistry([], {}, authorization);
    const config = { insecureRegistries: [registry.host], registryTimeoutMs: 30_000 };
    const { images } = await openImages(t, Date.now, config);
    const id = await built(images, ['FROM scratch', 'COPY <<EOF /f', 'sent', 'EOF', 'ENV A=1']);
    const to = `${registry.host}/team/app:2`;
    const say = () => {};
    await assert.rejects(images.archives.push(id, to, undefined, say, signal), /access was denied/);
    await images.archives.push(id, to, { username: 'me', password: 'secret' }, say, signal);
    const back = await images.fetch(to, { username: 'me', password: 'secret' }, say, signal);
    assert.equal(back.config.env.A, '1');
    // By its name it is there for Dockerfiles that have no login, or that of another registry.
    images.publish(back.id, to);
    await built(images, [`FROM ${to}`, 'LABEL on=it']);
    assert.deepEqual(
      images.catalog.history(back.id).map(({ text, bytes }) => [text, bytes !== undefined]),
      images.catalog.history(id).map(({ text, bytes }) => [text, bytes !== undefined]),
    );
  });
});
