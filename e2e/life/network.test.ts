/** What sandboxes may reach by name through the official clients, under each runtime. Ways round are in `server/src/network/egress.test.ts`. */
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createOutside, type Outside } from '../../server/src/engines/testing/outside.ts';
import { goExample } from '../support/clients.ts';
import { runtimesToTest } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { goCases, jsCases, pythonCases } from './support/cases.ts';

const INTERNET = fileURLToPath(new URL('../../server/src/network/testing/internet.ts', import.meta.url));
const NAMES = ['allowed.test', 'x.below.test', 'other.test'];

/** Every name is at one address, so that it is names alone by which they are told apart. */
const internet = (address: string): readonly string[] => [
  INTERNET,
  JSON.stringify({
    names: Object.fromEntries(NAMES.map((name) => [name, address])),
    secure: [address],
    plain: [],
  }),
];

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`what is reached by name under ${runtime}`, { skip }, () => {
    let outside: Outside;
    let server: TestServer;
    before(async () => {
      outside = await createOutside(`e${process.pid % 100_000}`, internet);
      server = await startServer({ runtime, flags: ['--nameservers', outside.publicAddress] });
    });
    after(async () => {
      await server?.stop();
      await outside?.[Symbol.asyncDispose]();
    });
    const options = () => ({ env: { LIFE_INTERNET: outside.publicAddress } });

    test('in Python', (t) => pythonCases(t, server, 'network', options()));

    test('over a crash of the server', async (t) => {
      await pythonCases(t, server, 'network_restart', { ...options(), only: ['before_the_restart'] });
      await server.kill9();
      await server.restart();
      await pythonCases(t, server, 'network_restart', { ...options(), only: ['after_the_restart'] });
    });

    test('in JavaScript', (t) => jsCases(t, server, 'network', options()));

    test('in Go', { skip: goExample() === undefined ? 'no Go toolchain' : false }, (t) =>
      goCases(t, server, options()),
    );
  });
}
