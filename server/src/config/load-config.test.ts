import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { dataDirOf } from './data-dir.ts';
import { loadConfig } from './load-config.ts';
import { describeSettings, kebabCase } from './settings.ts';

describe('loadConfig', () => {
  let home: string;
  before(() => {
    home = mkdtempSync(join(tmpdir(), 'config-test-'));
  });
  after(() => rmSync(home, { recursive: true, force: true }));

  const write = (content: string): string => {
    mkdirSync(join(home, 'skerry'), { recursive: true });
    const path = join(home, 'skerry', 'config.json');
    writeFileSync(path, content);
    return path;
  };
  const load = (argv: string[] = [], env: Record<string, string> = {}) =>
    loadConfig({ argv, env: { XDG_CONFIG_HOME: home, ...env } });

  test('takes defaults when nothing is given and there is no file', () => {
    rmSync(join(home, 'skerry'), { recursive: true, force: true });
    const config = load();
    assert.equal(config.port, 7423);
    assert.deepEqual(config.nameservers, []);
  });

  test('takes the password of a database where only its owner reads it, and repeats it nowhere', () => {
    const url = 'postgres://skerry:not-told@db/records';
    assert.equal(load([], { SKERRY_DATABASE_URL: url }).databaseUrl, url);
    assert.equal(load(['--database-url', 'postgres://skerry@db:6000/records']).host, '127.0.0.1');
    const failure = (argv: string[], env: Record<string, string> = {}) => {
      try {
        load(argv, env);
      } catch (error) {
        return String(error);
      }
      return assert.fail('taken');
    };
    for (const given of [url, 'postgres://db/records?user=skerry&password=not-told']) {
      const told = failure(['--database-url', given]);
      assert.match(told, /SKERRY_DATABASE_URL/);
      assert.doesNotMatch(told, /not-told/);
    }
    const told = failure([], { SKERRY_DATABASE_URL: 'mysql://skerry:not-told@db/records' });
    assert.match(told, /SKERRY_DATABASE_URL: the value is not a valid databaseUrl/);
    assert.doesNotMatch(told, /not-told/);
  });

  test('prefers flags to variables, variables to the file, the file to defaults', () => {
    write('{"port": 1001, "maxSandboxes": 5, "host": "10.0.0.1"}');
    const config = load(['--port', '1003'], { SKERRY_PORT: '1002', SKERRY_MAX_SANDBOXES: '6' });
    assert.equal(config.port, 1003);
    assert.equal(config.maxSandboxes, 6);
    assert.equal(config.host, '10.0.0.1');
    assert.equal(config.defaultPids, 4096);
  });

  test('reads lists comma-separated from flags and variables, as arrays from the file', () => {
    write('{"nameservers": ["9.9.9.9"]}');
    assert.deepEqual(load().nameservers, ['9.9.9.9']);
    assert.deepEqual(load(['--nameservers=1.1.1.1, 8.8.8.8,']).nameservers, ['1.1.1.1', '8.8.8.8']);
    assert.deepEqual(load([], { SKERRY_ALLOW_PRIVATE: '10.0.0.0/8' }).allowPrivate, ['10.0.0.0/8']);
  });

  test('says of the data directory what those are told that ask for nothing else', () => {
    for (const content of ['{}', '{"dataDir": "/from/file", "port": 1}']) {
      write(content);
      for (const variable of [{}, { SKERRY_DATA_DIR: '' }, { SKERRY_DATA_DIR: '/from/variable' }]) {
        const env = { XDG_CONFIG_HOME: home, ...variable };
        assert.equal(dataDirOf({}, env), loadConfig({ argv: [], env }).dataDir);
        assert.equal(dataDirOf({ dataDir: '/from/flag' }, env), '/from/flag');
      }
    }
    const path = write('{"dataDir": 5}');
    const wrong = {
      code: 'invalid-argument',
      message: new RegExp(`^file ${path}: 5 is not a valid dataDir`),
    };
    assert.throws(() => load(), wrong);
    assert.throws(() => dataDirOf({}, { XDG_CONFIG_HOME: home }), wrong);
    write('{');
    for (const find of [load, () => dataDirOf({}, { XDG_CONFIG_HOME: home })]) {
      assert.throws(find, { code: 'invalid-argument', message: /is not valid JSON/ });
    }
    assert.throws(() => dataDirOf({ config: join(home, 'none') }, {}), /cannot be read/);
  });

  test('treats an empty variable as not set', () => {
    write('{}');
    assert.equal(load([], { SKERRY_PORT: '' }).port, 7423);
  });

  test('keeps an equals sign in a value', () => {
    write('{}');
    assert.equal(load(['--data-dir=/tmp/a=b']).dataDir, '/tmp/a=b');
  });

  test('names the source of a value that is not valid', () => {
    const path = write('{"port": 70000}');
    assert.throws(() => load(), {
      code: 'invalid-argument',
      message: new RegExp(`^file ${path}: 70000 .*port`),
    });
    assert.throws(() => load(['--port', 'x']), { message: /^flag --port: "x" is not a valid port/ });
    assert.throws(() => load(['--port', '1'], { SKERRY_RUNTIME: 'docker' }), {
      message: /variable SKERRY_RUNTIME: "docker" is not a valid runtime/,
    });
  });

  test('refuses what it does not know, with the nearest name', () => {
    write('{"prot": 1}');
    assert.throws(() => load(), { message: /unknown setting "prot"/ });
    write('{}');
    assert.throws(() => load(['--memory', '1']), {
      message: /Unknown flag --memory\. .*--default-memory-mib/,
    });
    assert.throws(() => load(['serve']), { message: /Unknown flag serve/ });
    assert.throws(() => load(['--port']), { message: /--port needs a value/ });
  });

  test('reports a file that is not there when it was asked for, or is no JSON object', () => {
    assert.throws(() => load(['--config', join(home, 'absent.json')]), {
      message: /absent\.json cannot be read/,
    });
    write('{');
    assert.throws(() => load(), { message: /not valid JSON/ });
    write('[]');
    assert.throws(() => load(), { message: /must hold one JSON object/ });
  });

  test('gives every setting a flag and a variable of its own', () => {
    const settings = describeSettings();
    assert.equal(new Set(settings.map(({ flag }) => flag)).size, settings.length);
    assert.ok(settings.every(({ description }) => description !== ''));
    assert.equal(kebabCase('defaultMemoryMiB'), 'default-memory-mib');
    assert.equal(kebabCase('dataDir'), 'data-dir');
  });
});
