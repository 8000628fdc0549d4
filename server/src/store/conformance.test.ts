/** What domain and APIs rely on of their records, whichever database has them. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  newAppId,
  newEnvironmentId,
  newImageId,
  newLayerId,
  newMemorySnapshotId,
  newMountId,
  newProcessId,
  newSandboxId,
  newSecretId,
  newTaskId,
  newUploadId,
  newVolumeId,
  newVolumeLayerId,
  newVolumeMountId,
} from '../ids.ts';
import { UniqueViolation } from '../sandboxes/repositories.ts';
import { transaction } from './database.ts';
import type { Store } from './store.ts';
import { storeDatabases } from './testing/databases.ts';
import { appId, ended, environmentId, image, NOW_MS, sandboxRow } from './testing/rows.ts';

/** What a caller may send of texts, and what could end a text in a statement. */
const HOSTILE = [
  "'; DROP TABLE sandboxes; --",
  '"',
  '\\',
  '\\u0000',
  '\\\\u0000',
  '?1',
  '$1',
  '€\u{1f980}',
  '%_',
];

for (const database of storeDatabases) {
  describe(`a store over ${database.name}`, { skip: database.skip }, () => {
    before(() => database.start());
    after(() => database.stop());

    const storeTest = (name: string, work: (store: Store, reopen: () => Store) => void) =>
      test(name, () => {
        const { store, reopen, remove } = database.open();
        try {
          work(store, reopen);
        } finally {
          remove();
        }
      });

    storeTest('a setting is absent until it is set, is replaced, and survives', ({ settings }, reopen) => {
      assert.equal(settings.get('default-environment'), undefined);
      settings.set('default-environment', 'en-1');
      settings.set('default-environment', 'en-2');
      settings.set('boot-id', 'x');
      settings.delete('boot-id');
      settings.scrub();
      const reopened = reopen();
      assert.equal(reopened.settings.get('default-environment'), 'en-2');
      assert.equal(reopened.settings.get('boot-id'), undefined);
    });

    storeTest('a transaction that fails leaves nothing, and the next one is none of it', (store) => {
      const { database, settings } = store;
      const failing = () =>
        transaction(database, () => {
          settings.set('boot-id', 'x');
          assert.equal(database.isTransaction, true);
          throw new Error('why');
        });
      assert.throws(failing, /why/);
      assert.equal(database.isTransaction, false);
      assert.equal(settings.get('boot-id'), undefined);
      assert.equal(
        transaction(database, () => {
          settings.set('boot-id', 'y');
          return settings.get('boot-id');
        }),
        'y',
      );
      assert.equal(settings.get('boot-id'), 'y');
    });

    storeTest('a statement that is refused in a transaction undoes all of it', ({ database }) => {
      const refused = () =>
        transaction(database, () => {
          database.exec("INSERT INTO settings (key, value) VALUES ('a', '1')");
          database.exec("INSERT INTO settings (key, value) VALUES ('a', '2')");
        });
      assert.throws(refused, /unique/i);
      assert.deepEqual(database.prepare("SELECT value FROM settings WHERE key = 'a'").all(), []);
    });

    storeTest('environments take their apps and secrets with them', ({ environments, apps, secrets }) => {
      const [one, other] = [newEnvironmentId(), newEnvironmentId()];
      environments.insert(one, 'main', '2025.06', NOW_MS);
      assert.equal(environments.insert(other, 'dev', '2025.06', NOW_MS).createdAtMs, NOW_MS + 1);
      assert.throws(() => environments.insert(newEnvironmentId(), 'dev', '2025.06', NOW_MS), /unique/i);
      assert.deepEqual(
        environments.all().map(({ name }) => name),
        ['main', 'dev'],
      );
      const app = { description: 'd', state: 'deployed', tags: { a: '1' }, name: 'web' } as const;
      const [inOne, inOther] = [newAppId(), newAppId()];
      apps.insert({ ...app, id: inOne, environmentId: one }, NOW_MS);
      apps.insert({ ...app, id: inOther, environmentId: other }, NOW_MS);
      const twice = () => apps.insert({ ...app, id: newAppId(), environmentId: one }, NOW_MS);
      assert.throws(twice, /unique/i);
      const secret = {
        id: newSecretId(),
        environmentId: one,
        name: 's',
        keys: ['K'],
        expiresAtMs: undefined,
      };
      secrets.insert({ ...secret, ciphertext: new Uint8Array([0, 128, 255]) }, NOW_MS);
      assert.equal(apps.byName(one, 'web')?.environmentName, 'main');
      assert.deepEqual(apps.byId(inOne)?.tags, { a: '1' });
      environments.delete(one);
      assert.equal(apps.byId(inOne), undefined);
      assert.equal(secrets.byId(secret.id), undefined);
      assert.ok(apps.byId(inOther));
    });

    storeTest('a name of an app is free when it stopped', ({ environments, apps }) => {
      environments.insert(environmentId, 'main', '2025.06', NOW_MS);
      const app = { environmentId, name: 'web', description: '', state: 'ephemeral', tags: {} } as const;
      const first = newAppId();
      apps.insert({ ...app, id: first }, NOW_MS);
      assert.deepEqual(
        apps.unheard(NOW_MS + 1).map(({ id }) => id),
        [first],
      );
      apps.seen(first, NOW_MS + 2);
      assert.deepEqual(apps.unheard(NOW_MS + 1), []);
      apps.setState(first, 'stopped', 'web', NOW_MS + 3);
      apps.insert({ ...app, id: newAppId() }, NOW_MS);
      assert.equal(apps.list(environmentId, NOW_MS + 4).length, 1);
      assert.equal(apps.list(environmentId, NOW_MS + 3).length, 2);
    });

    storeTest('secrets come back byte by byte, change, and expire', ({ secrets }) => {
      const ciphertext = Uint8Array.from({ length: 256 }, (_, byte) => byte);
      const id = newSecretId();
      const row = { id, environmentId, name: 's', keys: ['A'], ciphertext, expiresAtMs: NOW_MS + 10 };
      assert.deepEqual([...secrets.insert(row, NOW_MS).ciphertext], [...ciphertext]);
      const later = { ...row, id: newSecretId(), name: undefined };
      assert.equal(secrets.insert(later, NOW_MS).createdAtMs, NOW_MS + 1);
      assert.deepEqual(secrets.setValues(id, ['B'], new Uint8Array([1])).keys, ['B']);
      secrets.used(id, NOW_MS + 5);
      assert.equal(secrets.byName(environmentId, 's')?.lastUsedAtMs, NOW_MS + 5);
      assert.equal(secrets.list(environmentId, NOW_MS + 100, 10).length, 1);
      assert.equal(secrets.deleteExpired(NOW_MS + 9), 0);
      assert.equal(secrets.deleteExpired(NOW_MS + 10), 2);
    });

    storeTest('a sandbox comes back as it was kept', ({ sandboxes }) => {
      const row = sandboxRow(
        { name: 'n', tags: { a: 'b' }, externalKey: 'k', args: ['--', '\0\ud800'] },
        { tokenId: 'to', requestKey: 'rq', sealedBuckets: new Uint8Array([7]) },
      );
      sandboxes.insert(row);
      const kept = sandboxes.get(row.id);
      assert.deepEqual(kept && [...(kept.sealedEnv ?? [])], [...row.sealedEnv]);
      assert.deepEqual(kept && [...(kept.sealedBuckets ?? [])], [7]);
      assert.deepEqual(kept?.spec.args, row.spec.args);
      assert.equal(kept?.createdAtMs, row.createdAtMs);
      assert.equal(sandboxes.getByTask(row.taskId)?.id, row.id);
      assert.equal(sandboxes.getByRequestKey('rq')?.id, row.id);
      assert.equal(sandboxes.liveIdByExternalKey('k'), row.id);
      assert.equal(sandboxes.newestCreatedAtMs(), row.createdAtMs);
      assert.equal(sandboxes.get(newSandboxId()), undefined);
      sandboxes.setExitSnapshot(row.id, { state: 'made' } as never); // read back by nobody here
      assert.deepEqual(sandboxes.get(row.id)?.exitSnapshot, { state: 'made' });
    });

    storeTest('what is there once is refused, and nothing of that is kept', ({ sandboxes }) => {
      const first = sandboxRow({ name: 'n', externalKey: 'k' }, { requestKey: 'rq' });
      sandboxes.insert(first);
      const refused = [
        sandboxRow({ name: 'n' }),
        sandboxRow({ externalKey: 'k' }),
        sandboxRow({}, { requestKey: 'rq' }),
      ];
      for (const row of refused) {
        assert.throws(() => sandboxes.insert(row), UniqueViolation);
        assert.deepEqual(sandboxes.life(row.taskId), []);
      }
      const second = sandboxRow();
      sandboxes.insert(second);
      assert.throws(() => sandboxes.setName(second.id, 'n'), UniqueViolation);
      // A row's own id is nobody's choice: that is another error.
      assert.throws(
        () => sandboxes.insert({ ...sandboxRow(), id: first.id }),
        (error) => !(error instanceof UniqueViolation),
      );
      sandboxes.update(first, ended(NOW_MS + 9), []);
      sandboxes.setName(second.id, 'n');
      assert.equal(sandboxes.find(appId, 'n', false)?.id, second.id);
    });

    storeTest('an end takes what was sealed, and tunnels and gateways', (store) => {
      const { sandboxes, tunnels, gateways } = store;
      const [ending, other] = [sandboxRow(), sandboxRow()];
      for (const row of [ending, other]) {
        sandboxes.insert(row);
        const { taskId } = row;
        const tunnel = {
          taskId,
          containerPort: 80,
          name: `t-${taskId}`,
          tlsPort: 40_000,
          plainPort: undefined,
        };
        tunnels.replace(taskId, [tunnel]);
        gateways.put({ taskId, containerPort: 80, name: `g-${taskId}`, port: undefined });
        gateways.put({ taskId, containerPort: 80, name: undefined, port: 40_001 });
      }
      const { result } = ended(0);
      sandboxes.update(ending, ended(NOW_MS + 50), [
        { kind: 'stopping', timeMs: NOW_MS + 40, result },
        { kind: 'ended', timeMs: NOW_MS + 40, result },
      ]);
      const row = sandboxes.get(ending.id);
      assert.deepEqual([row?.state, row?.sealedEnv, row?.sealedBuckets], ['ended', undefined, undefined]);
      assert.deepEqual(row?.result, result);
      assert.deepEqual(
        sandboxes.life(ending.taskId).map(({ kind }) => kind),
        ['created', 'stopping', 'ended'],
      );
      assert.deepEqual(
        sandboxes.live().map(({ id }) => id),
        [other.id],
      );
      assert.deepEqual(tunnels.all(), [
        {
          taskId: other.taskId,
          containerPort: 80,
          name: `t-${other.taskId}`,
          tlsPort: 40_000,
          plainPort: undefined,
        },
      ]);
      assert.deepEqual(gateways.all(), [
        { taskId: other.taskId, containerPort: 80, name: undefined, port: 40_001 },
      ]);
    });

    storeTest('ended sandboxes are found in the order of their ends, each once', ({ sandboxes }) => {
      const rows = Array.from({ length: 150 }, () => sandboxRow());
      for (const [index, row] of rows.entries()) {
        sandboxes.insert(row);
        sandboxes.update(row, ended(NOW_MS + Math.floor(index / 50)), []);
      }
      const first = sandboxes.endedBefore(NOW_MS + 2);
      const second = sandboxes.endedBefore(NOW_MS + 2, first.at(-1));
      assert.deepEqual([first.length, second.length], [100, 0]);
      const all = [...sandboxes.endedBefore(NOW_MS + 3), ...sandboxes.endedBefore(NOW_MS + 3, first.at(-1))];
      assert.equal(new Set(all.map(({ id }) => id)).size, 150);
    });

    storeTest('lists go by app, environment, tags and time, without sidecars', ({ sandboxes }) => {
      const tags = Object.fromEntries(HOSTILE.map((text, index) => [text, HOSTILE.at(-index) ?? '']));
      const plain = sandboxRow({ tags: { team: 'a' } });
      const hostile = sandboxRow({ tags: { ...tags, team: 'a', '\0': '\ud800' } });
      const elsewhere = sandboxRow({ appId: newAppId(), tags: { team: 'a' } });
      for (const row of [plain, hostile, elsewhere]) sandboxes.insert(row);
      const sidecarOf = { sandboxId: plain.id, name: 'db', command: '\udfff\0' };
      const sidecar = sandboxRow({ sidecarOf } as never); // the part that is looked at
      sandboxes.insert(sidecar);
      assert.throws(() => sandboxes.insert(sandboxRow({ sidecarOf } as never)), UniqueViolation);
      const list = (filter: Parameters<typeof sandboxes.list>[0]) =>
        sandboxes.list(filter).map(({ id }) => id);
      assert.deepEqual(list({ limit: 10 }), [elsewhere.id, hostile.id, plain.id]);
      assert.deepEqual(list({ appId, limit: 10 }), [hostile.id, plain.id]);
      assert.deepEqual(list({ appId, limit: 1 }), [hostile.id]);
      assert.deepEqual(list({ beforeMs: hostile.createdAtMs, limit: 10 }), [plain.id]);
      assert.deepEqual(list({ environmentId: newEnvironmentId(), limit: 10 }), []);
      assert.deepEqual(list({ appId, tags: { team: 'a' }, limit: 10 }), [hostile.id, plain.id]);
      assert.deepEqual(list({ tags: { team: 'a', other: 'b' }, limit: 10 }), []);
      for (const [key, value] of Object.entries(tags))
        assert.deepEqual(
          list({ tags: { [key]: value }, limit: 10 }),
          [hostile.id],
          JSON.stringify([key, value]),
        );
      assert.deepEqual(
        sandboxes.sidecars(plain.id).map(({ id }) => id),
        [sidecar.id],
      );
    });

    storeTest('a sandbox that is forgotten takes everything of it', (store) => {
      const { sandboxes, processes, images, imageUses, legacyExecs, database } = store;
      const used = image([newLayerId()]);
      images.insertReady(used, 'key');
      const row = sandboxRow({ imageId: used.id });
      sandboxes.insert(row);
      sandboxes.addEvent(row.taskId, { timeMs: NOW_MS, kind: 'exec', text: 'x' });
      const process = {
        id: newProcessId(),
        taskId: row.taskId,
        argv: ['a'],
        hasPty: false,
        timeoutMs: undefined,
      };
      processes.insert({ ...process, createdAtMs: NOW_MS });
      legacyExecs.endWith({ taskId: row.taskId, processId: process.id });
      images.holdImage(row.taskId, used.id);
      images.holdLayers(row.taskId, used.layers);
      sandboxes.update(row, ended(NOW_MS + 5_000), []);
      sandboxes.delete(row);
      const tables = [
        'sandboxes',
        'processes',
        'sandbox_events',
        'life_events',
        'legacy_execs',
        'mounted_layers',
      ];
      for (const table of [...tables, 'task_images'])
        assert.deepEqual(database.prepare(`SELECT * FROM ${table}`).all(), [], table);
      // When it was used last is known all the same.
      assert.equal(images.list(NOW_MS, 10)[0]?.lastUsedAtMs, NOW_MS + 5_000);
      assert.equal(imageUses.count(), 1);
    });

    storeTest('what was said at the same moment keeps its order', ({ sandboxes }) => {
      const taskId = newTaskId();
      const said = [...Array(20).keys()].map(String).concat(HOSTILE);
      for (const text of said) sandboxes.addEvent(taskId, { timeMs: NOW_MS, kind: 'life', text });
      assert.deepEqual(
        sandboxes.events(taskId).map(({ text }) => text),
        said,
      );
    });

    storeTest('processes keep how they ended', ({ sandboxes, processes }) => {
      const owner = sandboxRow();
      sandboxes.insert(owner);
      const sidecar = sandboxRow({ sidecarOf: { sandboxId: owner.id, name: 's' } } as never);
      sandboxes.insert(sidecar);
      const { taskId } = sidecar;
      const process = { id: newProcessId(), taskId, argv: ['a', '\0'], hasPty: true, timeoutMs: 5_000 };
      processes.insert({ ...process, createdAtMs: NOW_MS });
      assert.throws(() => processes.insert({ ...process, createdAtMs: NOW_MS }), /unique/i);
      processes.started(taskId, process.id);
      assert.equal(processes.get(taskId, process.id)?.state, 'running');
      const exit = { kind: 'code', code: 3, timedOut: false } as const;
      processes.ended(process, exit, 2 ** 40, NOW_MS + 1);
      const row = processes.get(taskId, process.id);
      assert.deepEqual([row?.exit, row?.stdinAccepted, row?.argv], [exit, 2 ** 40, process.argv]);
      assert.equal(sandboxes.sidecarWithProcess(owner.id, process.id)?.id, sidecar.id);
      processes.delete(taskId, process.id);
      assert.deepEqual(processes.list(taskId), []);
    });

    storeTest('answers are replaced, and expire', ({ answers }) => {
      answers.put('k', 'M', new Uint8Array([0, 1, 255]), NOW_MS);
      answers.put('k', 'M', new Uint8Array([39, 92, 0]), NOW_MS + 1);
      assert.deepEqual([...(answers.get('k', NOW_MS) ?? [])], [39, 92, 0]);
      assert.equal(answers.get('k', NOW_MS + 1), undefined);
      answers.expire(NOW_MS + 1);
      assert.equal(answers.get('k', 0), undefined);
    });

    storeTest('images are found by definition and name, and listed with what they take', ({ images }) => {
      const layers = [newLayerId(), newLayerId()];
      for (const [index, layer] of layers.entries()) images.insertLayer(layer, 2 ** (33 + index), NOW_MS);
      const [old, young] = [image(layers), image(layers.slice(1), { snapshots: 1, encrypted: true })];
      images.insertReady(old, 'key');
      images.insertBuilding(young.id, '2025.06', old.id, NOW_MS + 5);
      assert.equal(images.get(young.id)?.state, 'building');
      images.finish(young, 'key', NOW_MS + 6);
      assert.equal(images.findReady('key')?.id, young.id);
      assert.deepEqual(images.findReady('key')?.config, young.config);
      assert.equal(images.build(young.id)?.baseId, old.id);
      for (const name of ['b', 'B', 'ä', 'a/2', 'a/10', ...HOSTILE]) images.publish(name, old.id, NOW_MS);
      const names = (prefix: string, start = '') => images.names(prefix, start, 100).map(({ name }) => name);
      // By bytes, whatever a language makes of it.
      assert.deepEqual(names(''), [...['b', 'B', 'ä', 'a/2', 'a/10'], ...HOSTILE].sort(byBytes));
      assert.deepEqual(names('a/'), ['a/10', 'a/2']);
      assert.deepEqual(names('%_'), ['%_']);
      assert.deepEqual(names('a/', 'a/10'), ['a/2']);
      const listed = images.list(NOW_MS, 10);
      assert.deepEqual(
        listed.map(({ id, layers: count, bytes }) => [id, count, bytes]),
        [
          [young.id, 1, 2 ** 34],
          [old.id, 2, 2 ** 34 + 2 ** 33],
        ],
      );
      assert.deepEqual([...(listed[1]?.names ?? [])].sort(byBytes), names(''));
      assert.equal(images.unpublish('b', NOW_MS + 7), true);
      assert.equal(images.unpublish('b', NOW_MS + 7), false);
      assert.equal(images.getByName('B'), old.id);
      images.failUnfinished('why', NOW_MS);
      assert.equal(images.get(young.id)?.state, 'ready');
    });

    storeTest('deleted images stay for who runs on them, and their steps stay for other images', (store) => {
      const { images, sandboxes } = store;
      const layers = [newLayerId(), newLayerId(), newLayerId()] as const;
      const [one, other] = [image(layers.slice(0, 2)), image([layers[0], layers[2]])];
      for (const [key, made] of Object.entries({ one, other })) images.insertReady(made, key);
      for (const layer of layers) images.putStep(layer, layer, NOW_MS);
      images.putStep('empty', null, NOW_MS);
      images.putStep('empty', null, NOW_MS + 1);
      assert.deepEqual([images.getStep('empty'), images.getStep('none')], [null, undefined]);
      const row = sandboxRow({ imageId: one.id });
      sandboxes.insert(row);
      images.markDeleted(one.id, NOW_MS);
      assert.deepEqual(
        layers.map((layer) => images.getStep(layer)),
        [layers[0], undefined, layers[2]],
      );
      assert.equal(images.get(one.id), undefined);
      assert.ok(images.getUsed(one.id));
      assert.deepEqual(images.purgeDeleted(), []);
      const mounted = newLayerId();
      images.holdLayers(row.taskId, [mounted]);
      assert.deepEqual(images.referencedLayers(), new Set([...layers, mounted]));
      sandboxes.update(row, ended(NOW_MS), []);
      assert.deepEqual(images.purgeDeleted(), [one.id]);
      assert.deepEqual(images.referencedLayers(), new Set([layers[0], layers[2]]));
    });

    storeTest('a snapshot is found until it expires', ({ images }) => {
      const made = image([], { expiresAtMs: NOW_MS + 10 });
      images.insertReady(made, undefined);
      assert.equal(images.list(NOW_MS + 9, 5).length, 1);
      assert.equal(images.list(NOW_MS + 10, 5).length, 0);
      assert.deepEqual([images.expired(NOW_MS + 9), images.expired(NOW_MS + 10)], [[], [made.id]]);
    });

    storeTest('of layers it is known who holds them, how deep, and since when nobody does', (store) => {
      const { images, imageUses, sandboxes } = store;
      const [low, high, alone] = [newLayerId(), newLayerId(), newLayerId()];
      for (const layer of [low, high, alone]) images.insertLayer(layer, 5, NOW_MS);
      const made = image([low, high]);
      images.insertReady(made, 'key');
      images.touch(made.id, NOW_MS + 3);
      const uses = () =>
        new Map(
          imageUses.layerUses().map(({ id, held, depth, lastUsedMs }) => [id, [held, depth, lastUsedMs]]),
        );
      assert.deepEqual(uses().get(low), [false, 0, NOW_MS + 3]);
      assert.deepEqual(uses().get(high), [false, 1, NOW_MS + 3]);
      assert.deepEqual(uses().get(alone), [false, 0, 0]);
      const row = sandboxRow({ imageId: made.id });
      sandboxes.insert(row);
      assert.deepEqual(uses().get(high), [true, 1, NOW_MS + 3]);
      sandboxes.update(row, ended(NOW_MS + 90), []);
      assert.deepEqual(uses().get(high), [false, 1, NOW_MS + 90]);
      assert.equal(imageUses.forgetLayers([high, newLayerId()], NOW_MS), 1);
      assert.equal(imageUses.count(), 0);
    });

    storeTest('failed images and those without layers are forgotten when they are old', (store) => {
      const { images, imageUses, database } = store;
      const [failed, empty, named] = [newImageId(), image([]), image([])];
      images.insertBuilding(failed, 'b', undefined, NOW_MS);
      images.fail(failed, 'failed', 'no\0thing', NOW_MS);
      images.insertReady(empty, 'empty');
      images.insertReady(named, 'named');
      images.publish('n', named.id, NOW_MS);
      const deleted = () =>
        new Set(
          database
            .prepare('SELECT id FROM images WHERE deleted_at_ms IS NOT NULL')
            .all()
            .map(({ id }) => id),
        );
      imageUses.forgetEmpty(NOW_MS, NOW_MS + 1);
      assert.deepEqual(deleted(), new Set());
      imageUses.forgetEmpty(NOW_MS + 1, NOW_MS + 1);
      assert.deepEqual(deleted(), new Set([failed, empty.id]));
    });

    storeTest('volumes keep versions, and every layer that one of them or a sandbox shows', (store) => {
      const { volumes, volumeMounts } = store;
      const id = newVolumeId();
      const made = volumes.insert({ id, environmentId, name: 'v', protocol: 2 }, NOW_MS);
      assert.deepEqual([made.createdAtMs, made.protocol, made.name], [NOW_MS, 2, 'v']);
      const unnamed = newVolumeId();
      assert.equal(
        volumes.insert({ id: unnamed, environmentId, name: undefined, protocol: 1 }, NOW_MS).createdAtMs,
        NOW_MS + 1,
      );
      assert.deepEqual(
        volumes.list(environmentId, NOW_MS + 9, 9).map((volume) => volume.id),
        [id],
      );
      const layers = Array.from({ length: 4 }, () => newVolumeLayerId());
      const [kept, base, shown, reloading] = layers.map((layer) => [layer]);
      assert.ok(kept && base && shown && reloading);
      volumes.setVersion(id, { number: 3, layers: kept, bytes: 2 ** 41, files: 7 });
      assert.deepEqual(volumes.version(id), { number: 3, layers: kept, bytes: 2 ** 41, files: 7 });
      const mounts = Array.from({ length: 12 }, () => newVolumeMountId());
      for (const mount of mounts) {
        const row = {
          id: mount,
          taskId: newTaskId(),
          volumeId: id,
          writable: true,
          base,
          shown,
          firstId: 2 ** 31,
        };
        volumeMounts.insert(row);
      }
      assert.ok(mounts[0] && mounts[1]);
      volumeMounts.setReloading(mounts[0], reloading);
      assert.deepEqual(volumes.usedLayers(), new Set(layers));
      volumeMounts.setShown(mounts[0], shown);
      assert.deepEqual(volumes.usedLayers(), new Set(layers.slice(0, 3)));
      assert.deepEqual(
        volumeMounts.ofVolume(id).map((mount) => mount.id),
        mounts,
      );
      volumeMounts.delete(mounts[1]);
      assert.equal(volumeMounts.all().length, 11);
      assert.equal(volumeMounts.get(mounts[0])?.firstId, 2 ** 31);
      assert.equal(volumeMounts.get(mounts[0])?.writable, true);
      volumes.heard(unnamed, NOW_MS + 50);
      assert.deepEqual(volumes.unheard(NOW_MS + 50), []);
      assert.deepEqual(volumes.unheard(NOW_MS + 51), [unnamed]);
    });

    storeTest('of blocks the newest at a place is known, whatever moves over it', ({ volumeBlocks }) => {
      const upload = newUploadId();
      const [low, high, into] = [newVolumeLayerId(), newVolumeLayerId(), newVolumeLayerId()];
      const place = (holder: typeof upload | typeof low, path: string, offset = 0) => ({
        ...{ holder, path, offset, length: 4 },
      });
      volumeBlocks.insert('a', place(upload, 'part'));
      volumeBlocks.insert('b', place(upload, 'part'));
      volumeBlocks.insert('c', place(upload, 'part', 2 ** 40));
      assert.deepEqual(
        volumeBlocks.received(upload, 'part'),
        new Map([
          [0, 'b'],
          [2 ** 40, 'c'],
        ]),
      );
      volumeBlocks.insert('old', place(high, 'file'));
      volumeBlocks.insert('stays', place(high, 'file', 8));
      volumeBlocks.insert('unfinished', place(upload, 'other'));
      volumeBlocks.move(upload, high, new Map([['part', 'file']]));
      const found = (...digests: string[]) => digests.filter((digest) => volumeBlocks.find(digest));
      assert.deepEqual(found('a', 'b', 'c', 'old', 'stays', 'unfinished'), ['b', 'c', 'stays']);
      volumeBlocks.insert('below', place(low, 'file'));
      volumeBlocks.insert('only', place(low, 'file', 16));
      volumeBlocks.merge([low, high], into);
      assert.deepEqual(found('below', 'b', 'c', 'stays', 'only'), ['b', 'c', 'stays', 'only']);
      assert.deepEqual(volumeBlocks.find('only'), place(into, 'file', 16));
      volumeBlocks.merge([into], into);
      volumeBlocks.forget(place(into, 'file', 16));
      assert.deepEqual(found('b', 'only'), ['b']);
      volumeBlocks.forgetHolder(into);
      assert.deepEqual(found('b', 'c', 'stays'), []);
    });

    storeTest('files of mounts are in use while a sandbox has them', ({ mounts, sandboxes }) => {
      const files = (digest: string) => [{ path: '/a', sha256Hex: digest, mode: 0o644 }];
      const [one, other] = [newMountId(), newMountId()];
      mounts.insert({ id: one, checksum: 'c', files: files('d1') }, NOW_MS);
      mounts.insert({ id: other, checksum: 'c2', files: files('d2') }, NOW_MS);
      assert.equal(mounts.idOfChecksum('c'), one);
      const row = sandboxRow({ mountIds: [one] });
      sandboxes.insert(row);
      assert.deepEqual(mounts.digestsInUse(), new Set(['d1']));
      sandboxes.update(row, ended(NOW_MS), []);
      assert.deepEqual(mounts.digestsInUse(), new Set());
      mounts.forgetHolding(['d2', 'd3']);
      assert.deepEqual(mounts.byId(one)?.files, files('d1'));
      assert.equal(mounts.byId(other), undefined);
    });

    storeTest('memory snapshots end with their time or their image', ({ images, memorySnapshots }) => {
      const [kept, gone] = [image([]), image([])];
      for (const made of [kept, gone]) images.insertReady(made, undefined);
      const { spec, id: sandboxId, taskId } = sandboxRow();
      const insert = (imageId: typeof kept.id, expiresAtMs: number) => {
        const id = newMemorySnapshotId();
        const times = { createdAtMs: NOW_MS, expiresAtMs };
        memorySnapshots.insert({
          ...{ id, sandboxId, taskId, spec: { ...spec, imageId }, sealedEnv: new Uint8Array([0]), ...times },
        });
        return id;
      };
      const [late, soon, lost] = [
        insert(kept.id, NOW_MS + 9),
        insert(kept.id, NOW_MS),
        insert(gone.id, NOW_MS + 9),
      ];
      images.markDeleted(gone.id, NOW_MS);
      assert.deepEqual(new Set(memorySnapshots.expired(NOW_MS)), new Set([soon, lost]));
      memorySnapshots.delete(soon);
      assert.deepEqual(new Set(memorySnapshots.ids()), new Set([late, lost]));
      assert.equal(memorySnapshots.ofSandbox(sandboxId).length, 2);
      assert.deepEqual([...(memorySnapshots.get(late)?.sealedEnv ?? [])], [0]);
    });

    storeTest('messages wait in their order, once, for receivers there are', ({ webhookMessages }) => {
      const message = (id: string) => ({ id, type: 't', body: '{}', createdAtMs: NOW_MS }) as never;
      for (const id of ['3', '1', '2']) webhookMessages.add('r', message(id));
      assert.throws(() => webhookMessages.add('r', message('1')), /unique/i);
      webhookMessages.add('gone', message('1'));
      webhookMessages.remove('r', '1' as never);
      assert.deepEqual(
        webhookMessages.list('r').map(({ id }) => String(id)),
        ['3', '2'],
      );
      assert.equal(webhookMessages.forget(['r', "it's"], NOW_MS), 1);
      assert.equal(webhookMessages.forget(['r'], NOW_MS + 1), 2);
    });

    storeTest('execs of older clients keep how far their input came', ({ legacyExecs, sandboxes }) => {
      const row = sandboxRow();
      sandboxes.insert(row);
      const key = { taskId: row.taskId, processId: newProcessId() };
      legacyExecs.endWith(key);
      assert.equal(legacyExecs.begunInput(key), undefined);
      legacyExecs.beginInput(key, { message: '1', offset: 0 });
      legacyExecs.beginInput(key, { message: '2', offset: 2 ** 33 });
      assert.deepEqual(legacyExecs.begunInput(key), { message: '2', offset: 2 ** 33 });
      assert.deepEqual(legacyExecs.ending(), [key]);
      sandboxes.update(row, ended(NOW_MS), []);
      assert.deepEqual(legacyExecs.ending(), []);
    });
  });
}

function byBytes(one: string, other: string): number {
  return Buffer.compare(Buffer.from(one), Buffer.from(other));
}
