/** Domains that a sandbox may reach, through the official JavaScript client. */
import assert from 'node:assert/strict';
import { ExperimentalOutboundPolicy } from 'modal';
import { create, raised, run, running } from './harness.mjs';

const address = process.env.LIFE_INTERNET;
const REACH = `
import socket, ssl, sys
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
try:
    with socket.create_connection((sys.argv[1], 443), 60) as plain:
        with context.wrap_socket(plain, server_hostname=sys.argv[1]) as secure:
            print(secure.recv(100).decode().strip())
except OSError:
    print("closed")
`;

const AUTHORIZE = `
import sys, urllib.request
request = urllib.request.Request(f"https://{sys.argv[1]}/", headers={"Authorization": "placeholder"})
print(urllib.request.urlopen(request, timeout=60).headers["x-authorization"])
`;

await run({
  async 'domains are allowed, and changed while it runs'() {
    await running({ outboundDomainAllowlist: ['allowed.test'] }, async (sandbox) => {
      const reach = async (host) => {
        const process = await sandbox.exec(['python3', '-c', REACH, host]);
        return (await process.stdout.readText()).trim();
      };
      assert.equal(await reach('allowed.test'), `${address} allowed.test`);
      assert.equal(await reach('other.test'), 'closed');
      const update = (outboundCidrAllowlist, outboundDomainAllowlist) =>
        sandbox.updateNetworkPolicy({ outboundCidrAllowlist, outboundDomainAllowlist });
      await update([], ['other.test']);
      assert.equal(await reach('allowed.test'), 'closed');
      assert.equal(await reach('other.test'), `${address} other.test`);
      await update(['0.0.0.0/0', '::/0'], ['*']);
      assert.equal(await reach('allowed.test'), `${address} allowed.test`);
    });
  },

  async 'headers are put in that the sandbox does not know, and changed while it runs'() {
    const putting = (Authorization) =>
      new ExperimentalOutboundPolicy().withHeaderReplacement({
        domain: 'allowed.test',
        headers: { Authorization },
      });
    await running({ experimentalOutboundPolicy: putting('a $$') }, async (sandbox) => {
      const authorize = async (host) => {
        const process = await sandbox.exec(['python3', '-c', AUTHORIZE, host]);
        return (await process.stdout.readText()).trim();
      };
      assert.equal(await authorize('allowed.test'), 'a $');
      assert.equal(await authorize('other.test'), 'placeholder');
      await sandbox.experimentalUpdateOutboundPolicy(putting('b'));
      assert.equal(await authorize('allowed.test'), 'b');
    });
  },

  async 'what is no domain is invalid'() {
    const error = await raised('ClientError', () => create({ outboundDomainAllowlist: ['no domain'] }));
    assert.match(error.message, /INVALID_ARGUMENT/);
    assert.match(error.details, /^Invalid domain: no domain/);
  },
});
