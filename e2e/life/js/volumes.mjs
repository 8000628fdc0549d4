/** Volumes through the official JavaScript client, which names, mounts and reloads them. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { modal, raised, run, running } from './harness.mjs';

const unique = () => `js-${randomBytes(6).toString('hex')}`;
const fresh = () => modal.volumes.fromName(unique(), { createIfMissing: true });

async function sh(sandbox, script) {
  const process = await sandbox.exec(['sh', '-c', script]);
  const [stdout, stderr] = await Promise.all([process.stdout.readText(), process.stderr.readText()]);
  assert.equal(await process.wait(), 0, stderr);
  return stdout;
}

await run({
  async 'a volume is named, found and deleted'() {
    const name = unique();
    const error = await raised('NotFoundError', () => modal.volumes.fromName(name));
    assert.match(error.message, new RegExp(`'${name}' not found`));
    const made = await modal.volumes.fromName(name, { createIfMissing: true });
    assert.equal((await modal.volumes.fromName(name)).volumeId, made.volumeId);
    await modal.volumes.delete(name);
    await raised('NotFoundError', () => modal.volumes.fromName(name));
    const ephemeral = await modal.volumes.ephemeral();
    await running({ volumes: { '/data': ephemeral } }, (sandbox) => sh(sandbox, 'echo x > /data/x'));
    ephemeral.closeEphemeral();
  },

  async 'what one sandbox wrote another sees after a reload'() {
    const volume = await fresh();
    await running({ volumes: { '/data': volume } }, async (one) => {
      await running({ volumes: { '/data': volume } }, async (other) => {
        assert.equal(await sh(other, 'ls /data'), '');
        await sh(one, 'mkdir /data/dir; echo one > /data/dir/file; sync /data');
        assert.equal(await sh(other, 'ls /data'), '');
        await other.reloadVolumes();
        assert.equal(await sh(other, 'cat /data/dir/file; echo other > /data/dir/file'), 'one\n');
      });
      await one.reloadVolumes();
      assert.equal(await sh(one, 'cat /data/dir/file'), 'other\n');
    });
  },

  async 'the same volume at several places, read-only and in part'() {
    const volume = await fresh();
    const volumes = {
      '/all': volume,
      '/read-only': volume.withMountOptions({ readOnly: true }),
      '/part': volume.withMountOptions({ subPath: 'a/b' }),
      '/all/again': volume,
    };
    await running({ volumes }, async (sandbox) => {
      await sh(sandbox, 'echo part > /part/file; echo all > /all/file');
      assert.equal(
        await sh(sandbox, 'cat /all/a/b/file /read-only/file /all/again/a/b/file'),
        'part\nall\npart\n',
      );
      const refused = await sandbox.exec(['sh', '-c', 'echo x > /read-only/file']);
      assert.match(await refused.stderr.readText(), /Read-only/);
    });
    await running({ volumes: { '/data': volume } }, async (sandbox) =>
      assert.equal(
        await sh(sandbox, 'cd /data; find . | sort | tr "\\n" " "'),
        './a ./a/b ./a/b/file ./again ./file '.replace(/^/, '. '),
      ),
    );
  },

  async 'a sidecar mounts and reloads'() {
    const volume = await fresh();
    await running({ volumes: { '/data': volume } }, async (sandbox) => {
      const image = await modal.images
        .fromRegistry('python:3.11-slim')
        .build(await modal.apps.fromName('life-js'));
      const sidecar = await sandbox.experimentalSidecars.create('helper', image, {
        command: ['sleep', 'infinity'],
        volumes: { '/side': volume },
      });
      await sh(sandbox, 'echo main > /data/main');
      await sidecar.reloadVolumes();
      assert.equal(await sh(sidecar, 'cat /side/main; echo side > /side/side'), 'main\n');
      await sandbox.reloadVolumes();
      assert.equal(await sh(sandbox, 'cat /data/side'), 'side\n');
    });
  },
});
