/** Backups of the real store with real layers, made while it is used, and what another installation finds in them. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { MachineRoom } from '../platform/machine-room.ts';
import { Domain, TEST_ENVIRONMENT } from '../sandboxes/testing/domain.ts';
import { openVault } from '../secrets/vault.ts';
import { copyDatabase } from '../store/backup.ts';
import { migrations } from '../store/migrations.ts';
import { aboutSqlite } from '../store/testing/open-test-store.ts';
import { type BackupParts, backUp, prepareBackup, type StoreCopy } from './backup.ts';
import { copyKeys, restoreBackup } from './restore.ts';
import { CacheSetting, sha256 } from './testing/cache-setting.ts';

const skip = aboutSqlite || (process.getuid?.() === 0 ? false : 'layers are made by mounting');
const keyCheckOf = (dataDir: string) =>
  Buffer.from(openVault(dataDir, undefined).deriveKey('backup')).toString('hex');

async function setUp(t: TestContext) {
  const domain = await Domain.open();
  t.after(() => domain[Symbol.asyncDispose]());
  const directory = mkdtempSync(join(tmpdir(), 'skerry-backup-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const { dataDir, store, volumeMounts } = domain;
  const to = join(directory, 'backup');
  const parts: BackupParts = {
    ...{ dataDir, version: '1.2.3', now: () => 5000, keyCheck: keyCheckOf(dataDir) },
    copyStore: (path) => copyDatabase(store.database, path),
    commitVolumes: () => volumeMounts.settleAll(),
    room: new MachineRoom(dataDir),
  };
  const restore = (root: string, keys: string | undefined) =>
    restoreBackup({ from: to, keys, dataDir: join(root, 'data'), schema: migrations.length, keyCheckOf });
  return { domain, directory, to, parts, restore, setting: new CacheSetting(domain, Date.now) };
}

test('images, volumes, secrets and uploaded files are there elsewhere, and no sandbox; once more copies what is new', {
  skip,
}, async (t) => {
  const { domain, directory, to, parts, restore, setting } = await setUp(t);
  const { secrets, volumes, volumeFiles } = domain;
  const image = await setting.build('kept');
  const mount = await setting.mount('uploaded');
  const secret = secrets.create(TEST_ENVIRONMENT, 'named', { KEY: 'hush' }, 'fail');
  const volume = volumes.create(TEST_ENVIRONMENT, 'vol', 2, 'keep').id;
  const put = (text: string) =>
    volumeFiles.putWhole(volume, [{ path: 'file', sha256Hex: sha256(text), mode: 0o644 }], {
      overwrite: true,
    });
  await domain.blobs.putBytes(sha256('first'), Buffer.from('first'));
  await domain.blobs.putBytes(sha256('second'), Buffer.from('second'));
  await put('first');
  await domain.running({ name: 'runs' });

  await prepareBackup(to);
  assert.ok((await backUp(to, parts)).copied >= 3);
  const earliers = ['images/layers/la-old', 'blobs/sha256/00/0000'].map((path) => join(to, path));
  for (const path of earliers) mkdirSync(path, { recursive: true });
  await put('second');
  const again = await backUp(to, parts);
  assert.ok(again.copied <= 2, `${again.copied} were copied again`);
  await copyKeys(domain.dataDir, join(directory, 'keys'));
  assert.doesNotMatch(readFileSync(join(to, 'skerry.db'), 'latin1'), /hush|"runs"/);
  for (const earlier of earliers) assert.ok(!existsSync(earlier), `${earlier} is in no backup any more`);

  const root = mkdtempSync(join(tmpdir(), 'skerry-restored-'));
  assert.equal(await restore(root, join(directory, 'keys')), 5000);
  const other = await Domain.over(root);
  t.after(() => other[Symbol.asyncDispose]());
  await other.manager.recover();
  const otherSetting = new CacheSetting(other, Date.now);
  assert.ok(otherSetting.isThere(image));
  assert.equal(other.mounts.files(mount).length, 1);
  assert.deepEqual(other.secrets.resolve([{ kind: 'stored', id: secret.id }]), { KEY: 'hush' });
  const { place, start, length } = await other.volumeFiles.range(volume, 'file', 0, 0);
  assert.equal(
    readFileSync(other.volumeFiles.hostPath(place))
      .subarray(start, start + length)
      .toString(),
    'second',
  );
  assert.deepEqual(other.manager.list({ limit: 10, includeEnded: true }), []);
});

test('what goes before it was copied has the store copied once more', { skip }, async (t) => {
  const { to, parts, setting } = await setUp(t);
  await setting.build('there');
  await prepareBackup(to);
  const tries: number[] = [];
  const copyStore = async (path: string): Promise<StoreCopy> => {
    const copy = await parts.copyStore(path);
    return tries.push(copy.imageLayers.length) > 1
      ? copy
      : { ...copy, imageLayers: ['la-gone', ...copy.imageLayers] };
  };
  await backUp(to, { ...parts, copyStore });
  assert.equal(tries.length, 2);
  const never = async (path: string) => ({ ...(await parts.copyStore(path)), imageLayers: ['la-gone'] });
  await assert.rejects(backUp(to, { ...parts, copyStore: never }), /went before they were copied/);
});

test('only what was prepared is written to, and only a whole backup with its key is restored', {
  skip,
}, async (t) => {
  const { domain, directory, to, parts, restore } = await setUp(t);
  const root = join(directory, 'new');
  await assert.rejects(backUp(directory, parts), /no backup of Skerry/);
  await assert.rejects(prepareBackup(domain.dataDir), /no backup of Skerry/);
  await prepareBackup(to);
  await assert.rejects(restore(root, undefined), /never completed/);
  await backUp(to, parts);
  assert.equal(statSync(to).mode & 0o777, 0o700);
  await assert.rejects(restore(root, undefined), /key is not the one/);
  await assert.rejects(restore(domain.root, undefined), /not empty/);
  const manifest = JSON.parse(readFileSync(join(to, 'backup.json'), 'utf8'));
  writeFileSync(join(to, 'backup.json'), JSON.stringify({ ...manifest, schema: migrations.length + 1 }));
  await assert.rejects(
    restore(root, undefined),
    /made by Skerry 1\.2\.3 with schema \d+; this one knows up to/,
  );
});
