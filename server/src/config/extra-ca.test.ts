import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { rememberExtraCaFile } from './extra-ca.ts';
import { loadConfig } from './load-config.ts';

const directory = mkdtempSync(join(tmpdir(), 'extra-ca-'));
after(() => rmSync(directory, { recursive: true, force: true }));

const file = (name: string): string => {
  const path = join(directory, name);
  writeFileSync(path, '-----BEGIN CERTIFICATE-----\n');
  return path;
};
const dataDir = join(directory, 'data');
const configured = (env: Record<string, string>, ...flags: string[]) =>
  loadConfig({ argv: ['--data-dir', dataDir, ...flags], env: { HOME: directory, ...env } }).extraCaFile;

test("what the machine's tools are told of is found, the most deliberate first, and only files that exist", () => {
  const [own, node, ssl] = [file('own.pem'), file('node.pem'), file('ssl.pem')];
  assert.equal(configured({}), '');
  assert.equal(configured({ SSL_CERT_FILE: ssl }), ssl);
  assert.equal(configured({ SSL_CERT_FILE: ssl, NODE_EXTRA_CA_CERTS: node }), node);
  assert.equal(configured({ SSL_CERT_FILE: ssl, NODE_EXTRA_CA_CERTS: '/none' }), ssl);
  assert.equal(configured({ NODE_EXTRA_CA_CERTS: node, SKERRY_EXTRA_CA_FILE: own }), own);
  assert.equal(configured({ NODE_EXTRA_CA_CERTS: node }, '--extra-ca-file', ssl), ssl);
  assert.equal(configured({ NODE_EXTRA_CA_CERTS: node }, '--extra-ca-file', 'none'), '');
  assert.equal(
    configured({ SKERRY_EXTRA_CA_FILE: '/none' }),
    '/none',
    'an own setting that is wrong is told',
  );
});

test('a start from a plain shell finds what the last one found, while it is there', () => {
  const remembered = file('remembered.pem');
  const other = file('other.pem');
  rememberExtraCaFile(dataDir, remembered);
  rememberExtraCaFile(dataDir, '');
  assert.equal(configured({}), remembered);
  assert.equal(configured({ CURL_CA_BUNDLE: other }), other);
  assert.equal(configured({}, '--extra-ca-file', 'none'), '');
  rmSync(remembered);
  assert.equal(configured({}), '');
});
