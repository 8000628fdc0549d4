/** TLS to a real PostgreSQL, as the URL asks for it; and passwords from files. */
import assert from 'node:assert/strict';
import { createPrivateKey, randomInt } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import {
  makeAuthority,
  makeClientCertificate,
  makeServerCertificate,
} from '../../transport/issue-certificate.ts';
import { copyDatabase } from '../backup.ts';
import { failsWith } from '../testing/failures.ts';
import { noPostgres, PASSWORD, TestPostgres } from '../testing/postgres.ts';
import { openPostgres } from './open-postgres.ts';

const DAY_MS = 86_400_000;
const around = (days: number) => ({
  notBefore: new Date(Date.now() - DAY_MS),
  notAfter: new Date(Date.now() + days * DAY_MS),
});
/** Nobody else has the same port there. The certificate is for the first. */
const loopback = `127.${randomInt(1, 255)}.${randomInt(256)}`;
const [named, unnamed] = [`${loopback}.1`, `${loopback}.2`];

describe('TLS to PostgreSQL', { skip: noPostgres }, () => {
  let postgres: TestPostgres;
  let directory: string;
  let authority: Awaited<ReturnType<typeof makeAuthority>>;
  let made = 0;

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'skerry-tls-'));
    authority = await makeAuthority('the database', around(2), undefined);
    const other = await makeAuthority('somebody else', around(2), undefined);
    const server = await makeServerCertificate(authority, [named], around(1), undefined);
    const pairs = {
      client: await makeClientCertificate(authority, around(1)),
      stranger: await makeClientCertificate(other, around(1)),
    };
    for (const [name, { cert, key }] of Object.entries(pairs)) {
      writeFileSync(join(directory, `${name}.crt`), cert);
      writeFileSync(join(directory, `${name}.key`), key, { mode: 0o600 });
    }
    const encrypted = createPrivateKey(pairs.client.key).export({
      ...{ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: PASSWORD },
    });
    writeFileSync(join(directory, 'encrypted.key'), encrypted, { mode: 0o600 });
    writeFileSync(join(directory, 'ca.crt'), authority.cert);
    writeFileSync(join(directory, 'other-ca.crt'), other.cert);
    writeFileSync(join(directory, 'no.crt'), 'nothing');
    postgres = await TestPostgres.start({
      settings: [
        ...[`listen_addresses=${named},${unnamed}`, 'ssl=on', 'ssl_cert_file=server.crt'],
        ...['ssl_key_file=server.key', 'ssl_ca_file=ca.crt'],
      ],
      files: { 'server.crt': server.cert, 'server.key': server.key, 'ca.crt': authority.cert },
      access: [
        ...['hostssl certified skerry 127.0.0.0/8 cert', 'hostnossl encrypted all all reject'],
        'host all skerry 127.0.0.0/8 scram-sha-256',
      ],
    });
    postgres.createDatabase('certified');
    postgres.createDatabase('encrypted');
  });
  after(async () => {
    await postgres?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  const file = (name: string) => join(directory, name);
  const url = (query: string, { host = named, name = '', password = `:${PASSWORD}` } = {}) => {
    const database = name === '' ? `d${++made}` : name;
    if (name === '') postgres.createDatabase(database);
    return `postgres://skerry${password}@${host}/${database}?${query}`;
  };
  const open = (t: TestContext, query: string, options = {}) => {
    const database = openPostgres({ url: url(query, options) });
    t.after(() => database.close());
    return database;
  };
  const hasTls = (database: ReturnType<typeof open>) =>
    database.prepare('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()').get()?.ssl;
  const refused = (query: string, why: RegExp, options = {}) =>
    assert.throws(
      () => openPostgres({ url: url(query, options) }),
      failsWith('unavailable', new RegExp(`cannot be used: .*${why.source}`), PASSWORD),
    );

  test('is there unless it is not wanted, and is checked as far as is asked', (t) => {
    const root = `sslrootcert=${file('ca.crt')}`;
    for (const query of ['', 'sslmode=prefer', 'sslmode=require', `sslmode=verify-full&${root}`])
      assert.equal(hasTls(open(t, query)), 1, query);
    assert.equal(hasTls(open(t, 'sslmode=disable')), 0);
    assert.equal(hasTls(open(t, `sslmode=verify-ca&${root}`, { host: unnamed })), 1);
    assert.equal(hasTls(open(t, 'sslmode=require', { host: unnamed })), 1);
    const byName = ({ host = unnamed } = {}) =>
      refused(`sslmode=verify-full&${root}`, /other names/, { host });
    byName();
    for (const mode of ['require', 'verify-ca', 'verify-full'])
      refused(`sslmode=${mode}&sslrootcert=${file('other-ca.crt')}`, /no authority in .*other-ca\.crt/);
    refused('sslrootcert=system', /no authority that this machine trusts/);
  });

  test('is not there on a socket, whatever the URL says', (t) => {
    const host = encodeURIComponent(postgres.directory);
    assert.equal(hasTls(open(t, 'sslmode=require', { host })), 0);
  });

  test('shows a certificate, which may stand for the password', async (t) => {
    const root = `sslmode=verify-full&sslrootcert=${file('ca.crt')}`;
    const mine = (name: string, key = name) =>
      `${root}&sslcert=${file(`${name}.crt`)}&sslkey=${file(`${key}.key`)}`;
    const certified = { name: 'certified', password: '' };
    const database = open(t, mine('client'), certified);
    const copy = mkdtempSync(join(tmpdir(), 'skerry-copy-'));
    t.after(() => rmSync(copy, { recursive: true, force: true }));
    await copyDatabase(database, join(copy, 'skerry.db')); // by a connection of its own
    database.close();
    const again = openPostgres({
      url: url(`${mine('client', 'encrypted')}&sslpassword=${PASSWORD}`, certified),
    });
    again.close();
    refused(root, /sslcert and sslkey name one/, certified);
    refused(mine('stranger'), /does not take the certificate in .*stranger\.crt/, certified);
    refused(mine('client', 'stranger'), /are not a certificate and its key/, certified);
    refused(mine('client', 'encrypted'), /needs sslpassword/, certified);
    refused(`${mine('client', 'encrypted')}&sslpassword=${PASSWORD}-not`, /sslpassword is not/, certified);
  });

  test('refuses files that are not what they should be', () => {
    refused(`sslmode=verify-ca&sslrootcert=${file('no.crt')}`, /no\.crt, has no certificates/);
    refused(`sslmode=verify-ca&sslrootcert=${file('none.crt')}`, /sslrootcert cannot be read: ENOENT/);
    chmodSync(file('stranger.key'), 0o644);
    refused(
      `sslcert=${file('stranger.crt')}&sslkey=${file('stranger.key')}`,
      /others may read the file of sslkey/,
    );
    chmodSync(file('stranger.key'), 0o600);
  });

  test('that the database insists on is asked for when it was turned off', () => {
    refused('sslmode=disable', /sslmode=disable must go/, { name: 'encrypted' });
  });

  test('takes the password from a file, each time it connects', (t) => {
    const path = file('password');
    const source = { url: url('', { password: '' }), passwordFile: path };
    const why = (text: RegExp) =>
      assert.throws(() => openPostgres(source), failsWith('unavailable', text, PASSWORD));
    why(/SKERRY_DATABASE_PASSWORD_FILE cannot be read: ENOENT/);
    writeFileSync(path, '\n');
    why(/is empty/);
    writeFileSync(path, `${PASSWORD}-not\n`);
    why(/password authentication failed.*SKERRY_DATABASE_PASSWORD_FILE/);
    writeFileSync(path, `${PASSWORD}\n`);
    const database = openPostgres(source);
    t.after(() => database.close());
    assert.throws(
      () => openPostgres({ url: url(''), passwordFile: path }),
      failsWith('unavailable', /keep one/, PASSWORD),
    );
  });

  test('is told of that has run out, or is turned off there', async (t) => {
    const old = await makeServerCertificate(authority, [named], around(-0.5), undefined);
    await postgres.kill();
    postgres.put('server.crt', old.cert);
    postgres.put('server.key', old.key);
    await postgres.resume();
    refused(`sslmode=verify-full&sslrootcert=${file('ca.crt')}`, /not valid now/);
    await postgres.kill();
    await postgres.resume(['ssl=off']);
    refused('sslmode=require', /has no TLS, which sslmode=require asks for/);
    assert.equal(hasTls(open(t, '')), 0);
  });
});
