/** What one server asks another about sandboxes that this one keeps: over a real port, with real programs. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http2 from 'node:http2';
import { after, before, describe, test } from 'node:test';
import { newSandboxId } from '../ids.ts';
import { Cleanup } from '../platform/cleanup.ts';
import type { LifeEntry } from '../sandboxes/life-log.ts';
import { atLeast, Domain, deadline } from '../sandboxes/testing/domain.ts';
import { createLogger } from '../telemetry/logger.ts';
import { RequestForwarder } from '../transport/forward-requests.ts';
import { listen } from '../transport/listener.ts';
import type { Peer } from '../transport/peer-link.ts';
import { PeerSessions } from '../transport/peer-sessions.ts';
import { createPort, type Port } from '../transport/port.ts';
import { routeRequests } from '../transport/routes.ts';
import { makeCertificate } from '../transport/testing/certificate.ts';
import { PeerCalls } from './peer-calls.ts';
import { peerRoute } from './peer-route.ts';

const logger = createLogger('silent');
const key = randomBytes(32);

describe('what another server is asked about sandboxes that it keeps', () => {
  const cleanup = new Cleanup();
  let domain: Domain;
  let peer: Peer | undefined;
  let port: Port;
  let calls: PeerCalls;
  let serve: (at: number) => Promise<Port>;

  before(async () => {
    domain = await Domain.open();
    cleanup.add('domain', () => domain[Symbol.asyncDispose]());
    const certificate = await makeCertificate();
    const forwarder = new RequestForwarder({ key, logger });
    cleanup.add('forwarder', () => forwarder.close());
    serve = async (at) =>
      createPort({
        listener: await listen({ host: '127.0.0.1', port: at }),
        tls: certificate,
        plaintextFrom: 'machine',
        onRequest: routeRequests({
          rpc: { owns: () => false, handle: () => {} },
          routes: [peerRoute({ sandboxes: domain.manager, logger })],
          elsewhere: { forwarder, peerOf: () => undefined },
          logger,
        }),
        onUpgrade: (_request, socket) => socket.destroy(),
        logger,
      });
    port = await serve(0);
    cleanup.add('port', () => port.close(0));
    peer = { ...port.address, fingerprint: certificate.fingerprint };
    const sessions = new PeerSessions({ logger, patienceMs: 50 });
    cleanup.add('sessions', () => sessions.close());
    calls = new PeerCalls({ sessions, key, peer: () => peer });
  });
  after(() => cleanup.run());

  test('its output comes from any offset, live, to its end, and its result with it', async () => {
    const { id } = await domain.running({ args: ['sh', '-c', 'echo begun; read line; echo $line; exit 3'] });
    const sandbox = domain.manager.get(id);
    const chunks: Uint8Array[] = [];
    const reading = (async () => {
      for await (const chunk of calls.read(id, 'stdout', 1, deadline())) chunks.push(chunk);
    })();
    await atLeast(sandbox.stdout, 6);
    assert.equal(await calls.wait(id, 1, deadline()), undefined);
    await sandbox.entrypoint?.writeStdin(0, Buffer.from('across\n'), deadline());
    await reading;
    assert.equal(Buffer.concat(chunks).toString(), 'egun\nacross\n');
    assert.deepEqual(await calls.wait(id, 60_000, deadline()), { kind: 'exited', exitCode: 3 });
  });

  test('what breaks off in the middle goes on where it was', async () => {
    const { id } = await domain.running({ args: ['sh', '-c', 'echo begun; read line; echo $line'] });
    const sandbox = domain.manager.get(id);
    const output = calls.read(id, 'stdout', 0, deadline());
    assert.equal(Buffer.from((await output.next()).value ?? '').toString(), 'begun\n');
    const { port: at } = port.address;
    await port.close(0);
    await sandbox.entrypoint?.writeStdin(0, Buffer.from('across\n'), deadline());
    const next = output.next();
    port = await serve(at);
    assert.equal(Buffer.from((await next).value ?? '').toString(), 'across\n');
    assert.equal((await output.next()).done, true);
  });

  test('who terminates one hears when it has ended, and who follows hears all that happens', async () => {
    const { id } = await domain.running();
    const begun = Promise.withResolvers<void>();
    const heard: LifeEntry[] = [];
    const life = calls.life(begun.resolve, deadline());
    const following = (async () => {
      for await (const entry of life) if (heard.push(entry) > 0 && entry.kind === 'ended') return;
    })();
    await begun.promise;
    await calls.terminate(id);
    assert.equal(domain.manager.get(id).state, 'ended');
    await following;
    assert.deepEqual(
      heard.map(({ kind, sandboxId }) => [kind, sandboxId]),
      [
        ['stopping', id],
        ['ended', id],
      ],
    );
    assert.deepEqual(heard.at(-1)?.result, { kind: 'terminated' });
  });

  test('a connection to a program goes both ways, and says what the program would not have', async () => {
    const { id } = await domain.running({ args: ['nc', '-l', '-p', '7654', '-e', 'cat'] });
    let connection = await calls.connect(id, 7654, deadline()).catch(() => undefined);
    while (!connection) connection = await calls.connect(id, 7654, deadline()).catch(() => undefined);
    connection.write('over and back');
    assert.equal(String((await once(connection, 'data'))[0]), 'over and back');
    connection.destroy();
    await assert.rejects(calls.connect(id, 1, deadline()), { code: 'connection-refused' });
  });

  test('what it takes of the machine is told while it runs', async () => {
    const sandbox = await domain.running();
    const told = await calls.usage(sandbox.id, deadline());
    assert.ok(told);
    assert.ok(told.memoryBytes > 0);
    assert.deepEqual(told.ports, (await sandbox.usage())?.ports);
    await sandbox.terminate();
    assert.equal(await calls.usage(sandbox.id, deadline()), undefined);
  });

  test('what it refuses is said as it said it', async () => {
    await assert.rejects(calls.begin(newSandboxId()), { code: 'not-found', message: /not for this server/ });
    await assert.rejects(calls.terminate(newSandboxId()), { code: 'not-found' });
  });

  test('nobody else may ask', async () => {
    const session = http2.connect(`http://127.0.0.1:${port.address.port}`);
    try {
      const stream = session.request({ ':path': '/peer/life', 'skerry-forwarded': `${'x'.repeat(43)} tls` });
      const [headers] = await once(stream, 'response');
      assert.equal(headers[':status'], 404);
    } finally {
      session.destroy();
    }
  });

  test('of a server that is gone nothing is asked any more', async () => {
    const { id } = await domain.running();
    peer = undefined;
    await assert.rejects(calls.terminate(id), { code: 'unavailable', message: /gone/ });
  });
});
