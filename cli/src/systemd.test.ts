import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CliError } from './cli-error.ts';
import { absoluteFlags, quoteWord, renderEnvironment, renderUnit, requireSystemd } from './systemd.ts';

describe('the service', () => {
  test('runs the command in the foreground with its words as they are, and is started again and at boot', () => {
    const text = renderUnit({
      dataDir: '/var/lib/my data',
      node: '/opt/node',
      command: '/opt/skerry.mjs',
      flags: ['--port', '7500', '--tls-names', 'a%h"b$HOME\\c'],
    });
    assert.match(
      text,
      /^ExecStart="\/opt\/node" "\/opt\/skerry\.mjs" "up" "--foreground" "--data-dir" "\/var\/lib\/my data" "--port" "7500" "--tls-names" "a%%h\\"b\$\$HOME\\\\c"$/m,
    );
    for (const line of ['Restart=always', 'Type=notify', 'KillMode=mixed', 'WantedBy=multi-user.target'])
      assert.ok(text.split('\n').includes(line), line);
  });

  test('refuses words that would become lines of their own', () => {
    assert.throws(() => quoteWord('a\nExecStartPre=/bin/evil'), CliError);
    assert.throws(() => renderEnvironment({ SKERRY_HOST: 'a\nB=c' }), CliError);
  });

  test('has the variables that `up` would have in this shell, and no others', () => {
    const text = renderEnvironment({
      PATH: '/bin',
      SKERRY_VAULT_KEY: 'a"b\\c$d',
      SKERRY_SUPERVISED: '1',
      SKERRY_KEEPER_FD: '0',
      SKERRY_PORT: '',
      SSL_CERT_FILE: '/etc/ca.pem',
      PGSSLMODE: 'verify-full',
      AWS_SECRET_ACCESS_KEY: 'x',
    });
    assert.equal(
      text,
      'PATH="/bin"\nPGSSLMODE="verify-full"\nSKERRY_VAULT_KEY="a\\"b\\\\c\\$d"\nSSL_CERT_FILE="/etc/ca.pem"\n',
    );
  });

  test('says what to do where systemd does not manage the machine', () => {
    assert.throws(
      () => requireSystemd(false),
      /systemd does not manage this machine[\s\S]*skerry up --foreground/,
    );
  });

  test('means the same files from any directory', () => {
    assert.deepEqual(absoluteFlags(['--extra-ca-file', 'ca.pem', '--port', '7500']), [
      '--extra-ca-file',
      `${process.cwd()}/ca.pem`,
      '--port',
      '7500',
    ]);
  });
});
