import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { SignJWT } from 'jose';
import { SkerryError } from '../errors/skerry-error.ts';
import type { SandboxId, TaskId } from '../ids.ts';
import { openVault } from '../secrets/vault.ts';
import { aboutSqlite, openTestStore } from '../store/testing/open-test-store.ts';
import { ACCESS_TOKEN_LIFETIME_S, AccessTokens } from './access-tokens.ts';
import { tokenFilePath, tokenFileSchema } from './token-file.ts';
import { TokenStore } from './token-store.ts';

async function withDataDir(use: (dataDir: string) => Promise<void>): Promise<void> {
  const dataDir = await mkdtemp(join(tmpdir(), 'skerry-auth-'));
  try {
    await use(dataDir);
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
}

async function withStore(
  dataDir: string,
  use: (store: TokenStore) => unknown,
  now: () => number = Date.now,
): Promise<void> {
  const store = openTestStore(dataDir);
  try {
    const vault = openVault(dataDir, undefined);
    await use(await TokenStore.open({ settings: store.settings, dataDir, vault, now }));
  } finally {
    store.close();
  }
}

const readToken = async (dataDir: string) =>
  tokenFileSchema.parse(JSON.parse(await readFile(tokenFilePath(dataDir), 'utf8')));

const unauthenticated = (error: unknown) => error instanceof SkerryError && error.code === 'unauthenticated';

test(
  'the first start makes a token that only its owner can read and that later starts keep',
  { skip: aboutSqlite },
  () =>
    withDataDir(async (dataDir) => {
      await withStore(dataDir, () => {});
      const token = await readToken(dataDir);
      assert.equal((await stat(tokenFilePath(dataDir))).mode & 0o777, 0o600);
      await withStore(dataDir, (store) => {
        store.verify(token.tokenId, token.tokenSecret);
        assert.throws(() => store.verify(token.tokenId, `${token.tokenSecret}0`), unauthenticated);
        assert.throws(() => store.verify('ak-other', token.tokenSecret), unauthenticated);
        assert.throws(() => store.verify(undefined, token.tokenSecret), /skerry env/);
        assert.equal(store.identityOfApiKey(token.apiKey)?.scope, 'admin');
        assert.equal(store.identityOfApiKey(''), undefined);
      });
      const bytes = await readFile(join(dataDir, 'skerry.db'));
      assert.ok(!bytes.includes(token.tokenSecret), 'the secret is not in the database');
    }),
);

test('removing token.json gives a new token and retires the old one', () =>
  withDataDir(async (dataDir) => {
    await withStore(dataDir, () => {});
    const before = await readToken(dataDir);
    await rm(tokenFilePath(dataDir));
    await withStore(dataDir, (store) =>
      assert.throws(() => store.verify(before.tokenId, before.tokenSecret), unauthenticated),
    );
    const after = await readToken(dataDir);
    assert.notEqual(after.apiKey, before.apiKey);
  }));

test(
  'further tokens outlive a restart until they are revoked, and their secrets are not kept',
  { skip: aboutSqlite },
  () =>
    withDataDir(async (dataDir) => {
      let one = { tokenId: '', tokenSecret: '' };
      await withStore(dataDir, (store) => {
        one = store.issue({ label: 'one', scope: 'read' });
        store.issue({ label: 'two', scope: 'admin' });
        assert.deepEqual(store.verify(one.tokenId, one.tokenSecret), { tokenId: one.tokenId, scope: 'read' });
      });
      assert.ok(!(await readFile(join(dataDir, 'skerry.db'))).includes(one.tokenSecret));
      await withStore(dataDir, (store) => {
        assert.deepEqual(
          store.issued().map(({ label }) => label),
          ['one', 'two'],
        );
        assert.deepEqual(store.verify(one.tokenId, one.tokenSecret), { tokenId: one.tokenId, scope: 'read' });
        assert.equal(store.identityOfApiKey(store.apiKeyForToken(one.tokenId))?.scope, 'read');
        assert.throws(() => store.verify(store.tokenId, one.tokenSecret), unauthenticated);
        store.revoke(one.tokenId);
        assert.throws(() => store.verify(one.tokenId, one.tokenSecret), unauthenticated);
      });
      await withStore(dataDir, (store) => {
        assert.throws(() => store.verify(one.tokenId, one.tokenSecret), unauthenticated);
        assert.throws(() => store.revoke(one.tokenId), /no token/);
        assert.equal(store.issued().length, 1);
      });
    }),
);

const one = 'sb-one' as SandboxId;

test('a sandbox key opens its own sandbox only, also after a restart', () =>
  withDataDir(async (dataDir) => {
    let key = '';
    await withStore(dataDir, (store) => {
      key = store.sandboxKey(one);
    });
    await withStore(dataDir, (store) => {
      const identity = { tokenId: store.tokenId, scope: 'admin' };
      assert.deepEqual(store.sandboxOfKey(key), { sandboxId: one, identity });
      assert.equal(store.sandboxOfKey(key.replace('one', 'two')), undefined);
      assert.equal(store.sandboxOfKey(store.apiKeyForToken()), undefined);
    });
  }));

test('what a token was given ends with it: REST key, sandbox keys, answers under way', () =>
  withDataDir(async (dataDir) =>
    withStore(dataDir, (store) => {
      const { tokenId } = store.issue({ label: '', scope: 'read' });
      const [apiKey, key] = [store.apiKeyForToken(tokenId), store.sandboxKey(one, tokenId)];
      assert.deepEqual(store.sandboxOfKey(key), { sandboxId: one, identity: { tokenId, scope: 'read' } });
      const stolen = key.replace(tokenId.slice(3), store.tokenId.slice(3));
      assert.equal(store.sandboxOfKey(stolen), undefined, 'no other token can be named in its place');
      const ended: string[] = [];
      const answer = (name: string) => {
        const events = new EventEmitter();
        return Object.assign(events, { destroy: () => void ended.push(name) });
      };
      const done = answer('done');
      store.endWith(tokenId, answer('under way'));
      store.endWith(tokenId, done);
      store.endWith(store.tokenId, answer("the owner's"));
      done.emit('close');
      store.revoke(tokenId);
      assert.deepEqual(ended, ['under way']);
      assert.equal(store.identityOfApiKey(apiKey), undefined);
      assert.throws(() => store.sandboxOfKey(key), /was revoked/);
      assert.throws(() => store.identityOf(tokenId), unauthenticated);
    }),
  ));

test('another secret for a token keeps all but what was known of it; the one before is good for its time', () =>
  withDataDir(async (dataDir) => {
    let now = 1_000_000;
    const open = (use: (store: TokenStore) => void) => withStore(dataDir, use, () => now);
    const quotas = { maxSandboxes: 3 };
    let made = { tokenId: '', tokenSecret: '' };
    /** What opens something, after how many rotations. */
    const known: { readonly secret: string; readonly apiKey: string; readonly key: string }[] = [];
    const know = (store: TokenStore, { tokenId, tokenSecret }: typeof made) =>
      known.push({
        secret: tokenSecret,
        apiKey: store.apiKeyForToken(tokenId),
        key: store.sandboxKey(one, tokenId),
      });
    const good = (store: TokenStore) =>
      known.map(({ secret, apiKey, key }) => {
        const opens = [
          () => store.verify(made.tokenId, secret),
          () => store.identityOfApiKey(apiKey),
          () => store.sandboxOfKey(key)?.identity,
        ].map((open) => {
          try {
            return open() !== undefined;
          } catch (error) {
            assert.ok(unauthenticated(error));
            return false;
          }
        });
        assert.equal(new Set(opens).size, 1, 'they open the same');
        return opens[0];
      });
    let ended = 0;
    await open((store) => {
      made = store.issue({ label: 'one', scope: 'read', quotas });
      know(store, made);
      store.endWith(made.tokenId, Object.assign(new EventEmitter(), { destroy: () => void ended++ }));
      know(store, store.rotate(made.tokenId, 60_000));
      assert.deepEqual([good(store), ended], [[true, true], 0]);
      assert.equal(store.issued()[0]?.formerUntilMs, now + 60_000);
    });
    await open((store) => {
      assert.deepEqual(good(store), [true, true], 'also after a restart');
      now += 60_000;
      assert.deepEqual(good(store), [false, true]);
      store.endWith(made.tokenId, Object.assign(new EventEmitter(), { destroy: () => void ended++ }));
      know(store, store.rotate(made.tokenId, 0));
      assert.deepEqual([good(store), ended], [[false, false, true], 1]);
      const [shown] = store.issued();
      assert.deepEqual(shown, {
        tokenId: made.tokenId,
        label: 'one',
        scope: 'read',
        createdAtMs: 1_000_000,
        quotas,
      });
      know(store, store.rotate(made.tokenId, 60_000));
      know(store, store.rotate(made.tokenId, 60_000));
      assert.deepEqual(good(store), [false, false, false, true, true], 'of those before only the last');
      store.revoke(made.tokenId);
      assert.deepEqual(good(store), [false, false, false, false, false]);
      assert.throws(() => store.rotate(made.tokenId, 0), /no token/);
      assert.throws(() => store.rotate(store.tokenId, 0), /no token/, "the owner's is in a file");
    });
    await open((store) => assert.deepEqual(good(store), [false, false, false, false, false]));
  }));

test('a token ends at its time, is listed for a week and then forgotten', () =>
  withDataDir(async (dataDir) => {
    let now = 1_000_000;
    await withStore(
      dataDir,
      (store) => {
        assert.throws(() => store.issue({ label: '', scope: 'read', expiresAtMs: now }), /already/);
        const made = store.issue({ label: '', scope: 'sandboxes', expiresAtMs: now + 1000 });
        const apiKey = store.apiKeyForToken(made.tokenId);
        let ended = false;
        const destroy = () => {
          ended = true;
        };
        store.endWith(made.tokenId, Object.assign(new EventEmitter(), { destroy }));
        now += 999;
        store.sweep();
        assert.equal(store.verify(made.tokenId, made.tokenSecret).scope, 'sandboxes');
        assert.equal(ended, false);
        now += 1;
        assert.throws(() => store.verify(made.tokenId, made.tokenSecret), /has expired/);
        assert.throws(() => store.verify(made.tokenId, 'as-guess'), /wrong/, 'who guesses learns nothing');
        assert.throws(() => store.identityOfApiKey(apiKey), /has expired/);
        store.sweep();
        assert.equal(ended, true);
        assert.equal(store.issued().length, 1);
        now += 7 * 86_400_000;
        store.sweep();
        assert.equal(store.issued().length, 0);
      },
      () => now,
    );
  }));

test('tokens of earlier versions can do what they could', () =>
  withDataDir(async (dataDir) => {
    const store = openTestStore(dataDir);
    const old = { tokenId: 'ak-old', secretSha256: '00'.repeat(32), label: 'old', createdAtMs: 1 };
    store.settings.set('auth.further-tokens', JSON.stringify([old]));
    store.close();
    await withStore(dataDir, (tokens) => assert.equal(tokens.identityOf('ak-old').scope, 'sandboxes'));
  }));

/** Every byte of the database, its log included. */
async function databaseBytes(dataDir: string): Promise<Buffer> {
  const parts = ['skerry.db', 'skerry.db-wal'].map((name) =>
    readFile(join(dataDir, name)).catch(() => Buffer.alloc(0)),
  );
  return Buffer.concat(await Promise.all(parts));
}

test('the database has no key that anything is signed with, in no form', { skip: aboutSqlite }, () =>
  withDataDir(async (dataDir) => {
    let key: Uint8Array = new Uint8Array();
    await withStore(dataDir, async (store) => {
      key = store.signingKey;
      const bytes = await databaseBytes(dataDir);
      assert.equal(bytes.includes(Buffer.from(key)), false);
      assert.equal(bytes.includes(Buffer.from(key).toString('hex')), false);
    });
    await withStore(dataDir, (store) => assert.deepEqual(store.signingKey, key));
    // Who has the database and not the vault's key gets keys that open nothing here.
    const { apiKey } = await readToken(dataDir);
    await rm(join(dataDir, 'vault.key'));
    await withStore(dataDir, async (store) => {
      assert.equal(store.identityOfApiKey(apiKey), undefined);
      assert.ok(
        store.identityOfApiKey((await readToken(dataDir)).apiKey),
        'the file has the key that is good now',
      );
    });
  }),
);

test(
  'a database of an earlier version keeps its key, sealed, and no trace of it in clear',
  { skip: aboutSqlite },
  () =>
    withDataDir(async (dataDir) => {
      const key = 'c0ffee11'.repeat(8);
      const store = openTestStore(dataDir);
      const { settings } = store;
      settings.set('auth.signing-key', key);
      store.close();
      assert.ok((await databaseBytes(dataDir)).includes(key));
      await withStore(dataDir, async (store) => {
        assert.equal(Buffer.from(store.signingKey).toString('hex'), key);
        const bytes = await databaseBytes(dataDir);
        assert.equal(bytes.includes(key) || bytes.includes(Buffer.from(key, 'hex')), false);
      });
      await withStore(dataDir, (store) => assert.equal(Buffer.from(store.signingKey).toString('hex'), key));
      await rm(join(dataDir, 'vault.key'));
      await assert.rejects(
        withStore(dataDir, () => {}),
        /vault\.key/,
      );
    }),
);

const grant = {
  sandboxId: 'sb-A' as SandboxId,
  taskId: 'ta-AV' as TaskId,
  tokenId: 'ak-zzzzzzzzzzzzzzzzzzzzzz',
};

test('router tokens are accepted until they expire, by every server with the same key', async () => {
  const key = new Uint8Array(32).fill(7);
  let now = 1_700_000_000_123;
  const issuer = new AccessTokens(key, () => now);
  const token = await issuer.forRouter(grant);
  const restarted = new AccessTokens(key, () => now);
  assert.deepEqual(await restarted.verifyRouter(token), grant);
  now += (ACCESS_TOKEN_LIFETIME_S - 2) * 1000;
  assert.deepEqual(await restarted.verifyRouter(token), grant);
  now += 3000;
  await assert.rejects(restarted.verifyRouter(token), unauthenticated, 'a remembered token expires too');
});

test('the payload is what every client can parse: integer exp, base64 without url characters', async () => {
  const tokens = new AccessTokens(new Uint8Array(32).fill(1), () => 1_700_000_000_999);
  for (const token of [await tokens.forRouter(grant), await tokens.forCaller('ak-zzzzzzzzzzzzzzzzzzzzzz')]) {
    const payload = token.split('.')[1] ?? '';
    assert.match(payload, /^[A-Za-z0-9]+$/);
    const claims: unknown = JSON.parse(Buffer.from(payload, 'base64').toString('utf8'));
    assert.ok(claims && typeof claims === 'object' && 'exp' in claims && Number.isInteger(claims.exp));
  }
});

test('tokens of another kind, another key, without a signature or expiry are refused', async () => {
  const key = new Uint8Array(32).fill(1);
  const now = () => 1_700_000_000_000;
  const tokens = new AccessTokens(key, now);
  const unsigned = `${Buffer.from('{"alg":"none"}').toString('base64url')}.e30.`;
  const endless = await new SignJWT({ task: 'ta-AV' })
    .setProtectedHeader({ alg: 'HS256' })
    .setIssuer('skerry')
    .setAudience('command-router')
    .setSubject('sb-A')
    .sign(key);
  const foreign = await new AccessTokens(new Uint8Array(32).fill(2), now).forRouter(grant);
  for (const token of ['', 'x', unsigned, endless, foreign, await tokens.forCaller('ak-1')]) {
    await assert.rejects(tokens.verifyRouter(token), unauthenticated);
  }
});

test('of several servers each learns which tokens another made, rotated, revoked, or let expire', () =>
  withDataDir(async (dataDir) => {
    const records = openTestStore(dataDir);
    try {
      let now = 1_000;
      const vault = openVault(dataDir, undefined);
      const open = () => TokenStore.open({ settings: records.settings, dataDir, vault, now: () => now });
      const [one, other] = [await open(), await open()];
      const wish = { label: 'x', scope: 'sandboxes', expiresAtMs: undefined } as const;
      const [kept, revoked] = [one.issue({ ...wish, expiresAtMs: 9_000 }), one.issue(wish)];
      assert.throws(() => other.verify(revoked.tokenId, revoked.tokenSecret), unauthenticated);
      other.reload();
      other.verify(revoked.tokenId, revoked.tokenSecret);
      const key = one.apiKeyForToken(kept.tokenId);
      assert.equal(other.identityOfApiKey(key)?.tokenId, kept.tokenId);

      const ended: string[] = [];
      const underWay = (tokenId: string) =>
        other.endWith(
          tokenId,
          Object.assign(new EventEmitter(), { destroy: () => void ended.push(tokenId) }),
        );
      for (const { tokenId } of [kept, revoked]) underWay(tokenId);
      one.revoke(revoked.tokenId);
      other.reload();
      other.reload();
      assert.deepEqual(ended, [revoked.tokenId]);
      assert.throws(() => other.verify(revoked.tokenId, revoked.tokenSecret), unauthenticated);

      const rotated = one.rotate(kept.tokenId, 0);
      other.reload();
      assert.deepEqual(ended, [revoked.tokenId, kept.tokenId]);
      assert.throws(() => other.verify(kept.tokenId, kept.tokenSecret), unauthenticated);
      other.verify(rotated.tokenId, rotated.tokenSecret);
      assert.equal(other.identityOfApiKey(key), undefined);
      assert.equal(other.identityOfApiKey(one.apiKeyForToken(kept.tokenId))?.tokenId, kept.tokenId);

      now = 9_001;
      other.reload();
      assert.deepEqual(ended, [revoked.tokenId, kept.tokenId, kept.tokenId]);
    } finally {
      records.close();
    }
  }));
