import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { Layout } from './layout.ts';
import { isStaticProgram, prepareAgent, prepareCaBundle, prepareSkeleton } from './shared-files.ts';

const scratch = await mkdtemp(join(tmpdir(), 'skerry-shared-'));
after(() => rm(scratch, { recursive: true, force: true }));
const layout = new Layout(join(scratch, 'data'), '/run/x');

/** An ELF header with one program header of the given type. */
function elf(programHeaderType: number): Buffer {
  const image = Buffer.alloc(64 + 56);
  image.write('\x7fELF\x02\x01\x01', 'latin1');
  image.writeBigUInt64LE(64n, 32);
  image.writeUInt16LE(56, 54);
  image.writeUInt16LE(1, 56);
  image.writeUInt32LE(programHeaderType, 64);
  return image;
}

describe('prepareAgent', () => {
  it('puts one static program under both names and replaces it later', async () => {
    const agent = join(scratch, 'agent');
    await writeFile(agent, elf(1));
    await prepareAgent(layout, agent);
    await prepareAgent(layout, agent);
    assert.deepEqual((await readdir(layout.binDir)).sort(), ['modal-sandbox-fs-tools', 'skerry-agent']);
    assert.equal((await stat(join(layout.binDir, 'skerry-agent'))).mode & 0o777, 0o755);
  });

  it('refuses what is missing, no program, or needs a dynamic linker', async () => {
    await assert.rejects(prepareAgent(layout, join(scratch, 'missing')), /npm run setup/);
    for (const [name, content] of [
      ['dynamic', elf(3)],
      ['text', Buffer.alloc(200, 'x')],
      ['cut', elf(1).subarray(0, 80)],
    ] as const) {
      const path = join(scratch, name);
      await writeFile(path, content);
      assert.equal(await isStaticProgram(path), false, name);
      await assert.rejects(prepareAgent(layout, path), /static/);
    }
  });
});

describe('prepareSkeleton', () => {
  it('has every mount point and can be made again', async () => {
    await prepareSkeleton(layout);
    await prepareSkeleton(layout);
    assert.equal((await stat(join(layout.skeletonDir, 'tmp'))).mode & 0o7777, 0o1777);
    for (const path of [
      'proc',
      'sys',
      'dev',
      'etc/resolv.conf',
      '__modal/.bin',
      '__modal/.run',
      '__modal/.ca/ca-certificates.crt',
    ]) {
      await stat(join(layout.skeletonDir, path));
    }
  });
});

describe('prepareCaBundle', () => {
  it("adds the extra certificates to the machine's, each once", async () => {
    assert.equal(await prepareCaBundle(layout, ''), undefined);
    const certificate = '-----BEGIN CERTIFICATE-----\nZXh0cmE=\n-----END CERTIFICATE-----';
    const extra = join(scratch, 'extra.pem');
    await writeFile(extra, `${certificate}\n${certificate}\n`);
    const bundle = await readFile((await prepareCaBundle(layout, extra)) ?? '', 'utf8');
    assert.equal(bundle.split(certificate).length, 2);
  });

  it('refuses a file without certificates', async () => {
    const path = join(scratch, 'empty.pem');
    await writeFile(path, 'nothing');
    await assert.rejects(prepareCaBundle(layout, path), { code: 'invalid-argument' });
    await assert.rejects(prepareCaBundle(layout, join(scratch, 'missing.pem')), { code: 'invalid-argument' });
  });
});
