import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SkerryError } from '../../errors/skerry-error.ts';
import { parseDatabaseUrl } from './database-url.ts';

const parse = (url: string, env = {}) => parseDatabaseUrl(url, env);

test('where a database is, is told without who may enter', () => {
  const places = {
    'postgres://me:secret@db.example:6000/skerry?sslmode=require': 'db.example:6000/skerry',
    'postgresql:///skerry?host=/run/pg': '/run/pg:5432/skerry',
    'postgres://me:secret@/skerry?host=/run/pg&port=5433': '/run/pg:5433/skerry',
    'postgres://%2Frun%2Fpg/skerry': '/run/pg:5432/skerry',
    'postgres://me@[::1]:6000/a%20b': '::1:6000/a b',
    'postgres://': 'localhost:5432/',
  };
  assert.deepEqual(
    Object.keys(places).map((url) => parse(url).place),
    Object.values(places),
  );
  assert.equal(parse('postgres:///x', { PGHOST: 'db', PGPORT: '6000' }).place, 'db:6000/x');
});

test('parts and parameters are decoded, and a + is one', () => {
  const { user, password } = parse('postgres://a%40b:p%2F+%25@db/x');
  assert.deepEqual([user, password], ['a@b', 'p/+%']);
  const given = parse('postgres://db/?dbname=x&user=u&password=a+b%3D&application_name=n&options=-c%20a%3Db');
  assert.deepEqual(
    [given.database, given.user, given.password, given.applicationName, given.options],
    ['x', 'u', 'a+b=', 'n', '-c a=b'],
  );
});

test('TLS is what libpq has for the same words', () => {
  const tls = (query: string, env = {}) => {
    const { tls, authorities } = parse(`postgres://db/x?${query}`, env);
    return `${tls} ${authorities}`;
  };
  assert.equal(tls(''), 'prefer undefined');
  assert.equal(tls('sslmode=allow'), 'prefer undefined');
  assert.equal(tls('sslmode=require'), 'require undefined');
  assert.equal(tls('ssl=true'), 'require undefined');
  assert.equal(tls('sslmode=require&sslrootcert=/ca'), 'verify-ca /ca');
  assert.equal(tls('sslrootcert=system'), 'verify-full system');
  assert.equal(tls('', { PGSSLMODE: 'verify-full', PGSSLROOTCERT: '/ca' }), 'verify-full /ca');
  assert.equal(tls('sslmode=disable', { PGSSLMODE: 'verify-full' }), 'disable undefined');
  const own = parse('postgres://db/x?sslcert=/c&sslkey=/k&sslpassword=p');
  assert.deepEqual(own.certificate, { cert: '/c', key: '/k', passphrase: 'p' });
});

test('what is no such URL is refused with what to write, and nothing of it is repeated', () => {
  const refused: readonly (readonly [string, RegExp])[] = [
    ['postgres://me:not-told@[/x', /postgres:\/\/user:password@host/],
    ['postgres://me:not-told/@db/x', /written as %40/],
    ['postgres://me:not-told@one,two/x', /of the form/],
    ['postgres://me:not-told%zz@db/x', /written as %25/],
    ['postgres://me:not-told@db/x?sslmod=require', /a parameter sslmod that is not known/],
    ['postgres://me:x@db/x?not-told=1', /a parameter that is not known/],
    ['postgres://me:not-told@db/x?passfile=/x', /SKERRY_DATABASE_PASSWORD_FILE/],
    ['postgres://me:not-told@db/x?sslmode=not-told', /none of disable, .*verify-full/],
    ['postgres://me:not-told@db/x?sslmode=verify-full', /needs sslrootcert/],
    ['postgres://me:not-told@db/x?sslrootcert=/ca', /no use without sslmode=verify-full/],
    ['postgres://me:not-told@db/x?sslmode=verify-ca&sslrootcert=system', /say sslmode=verify-full/],
    ['postgres://me:not-told@db/x?sslcert=/c', /belong together/],
    ['postgres://me:not-told@db/x?port=not-told', /is no number/],
  ];
  for (const [url, why] of refused)
    assert.throws(
      () => parse(url),
      (error) => {
        assert.ok(error instanceof SkerryError);
        assert.equal(error.code, 'invalid-argument');
        assert.match(error.message, why);
        assert.doesNotMatch(`${error.stack}`, /not-told/);
        return true;
      },
    );
});
