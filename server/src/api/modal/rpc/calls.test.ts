import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { Code } from '@connectrpc/connect';
import { SkerryError } from '../../../errors/skerry-error.ts';
import type { FinishedCall } from '../../../telemetry/calls.ts';
import { SandboxCreateResponseSchema } from '../gen/modal/sandboxes_pb.ts';
import { code, controlPlane, definition, sandbox, withApi } from '../testing/clients.ts';
import { Idempotency } from './idempotency.ts';

test('calls without or with wrong credentials are refused with what to do; each kind of client can have its token', () =>
  withApi(async (served) => {
    await assert.rejects(controlPlane(served, {}).clientHello({}), code(Code.Unauthenticated, /skerry env/));
    const wrong = { ...served.credentials, 'x-modal-token-secret': 'as-wrong' };
    await assert.rejects(controlPlane(served, wrong).clientHello({}), code(Code.Unauthenticated, /wrong/));
    const { token } = await controlPlane(served).authTokenGet({});
    assert.equal(token.split('.').length, 3);
  }));

test('an RPC that Skerry does not have is UNIMPLEMENTED by name, counted, and logged once', () =>
  withApi(async (served) => {
    const client = controlPlane(served);
    for (const _ of [1, 2])
      await assert.rejects(client.secretList({}), code(Code.Unimplemented, /SecretList/));
    const call = (path: string) =>
      fetch(`http://127.0.0.1:${served.port}/modal.client.ModalClient/${path}`, {
        method: 'POST',
        headers: { ...served.credentials, 'content-type': 'application/json' },
        body: '{}',
      });
    assert.match(await (await call('FunctionMap')).text(), /unimplemented.*FunctionMap/);
    assert.deepEqual(
      [...served.api.unknownRpcs()],
      [
        ['SecretList', 2],
        ['FunctionMap', 1],
      ],
    );
    assert.equal(served.log.filter(({ msg }) => msg === 'rpc not implemented').length, 2);
  }));

test('errors keep their words and status; a bug shows an error code and nothing else, and the log has it all', () =>
  withApi(
    async (served) => {
      const client = controlPlane(served);
      await assert.rejects(client.secretList({}), code(Code.ResourceExhausted, /Too many.*End sandboxes/));
      let seen = '';
      await assert.rejects(client.secretDelete({}), (error) => {
        seen = /Error code: ([A-Z0-9]{8})$/.exec(String(error))?.[1] ?? '';
        return code(Code.Internal)(error) && !String(error).includes('/secret/path');
      });
      const logged = served.log.find(({ errorCode }) => errorCode === seen);
      assert.match(String(logged?.error), /\/secret\/path[\s\S]*at /);
    },
    {
      handlers: {
        secretList: () => {
          throw new SkerryError('resource-exhausted', 'Too many');
        },
        secretDelete: () => {
          throw new TypeError('bug at /secret/path');
        },
      },
    },
  ));

test('the greeting tells Python 0.64 which image builder version its images are defined with', () =>
  withApi(async (served) => {
    const python = { ...served.credentials, 'x-modal-client-type': '1', 'x-modal-client-version': '0.64.1' };
    assert.equal((await controlPlane(served, python).clientHello({})).imageBuilderVersion, '2024.04');
  }));

test('every call leaves one event with method, outcome, duration and client', () =>
  withApi(async (served) => {
    await controlPlane(served, {
      ...served.credentials,
      'x-modal-client-type': '8',
      'x-modal-libmodal-version': 'modal-js/0.11.1',
    }).clientHello({});
    const events = served.log.filter(({ rpc }) => rpc === 'ClientHello');
    assert.equal(events.length, 1);
    const [event] = events;
    assert.equal(event?.outcome, 'OK');
    assert.equal(event?.client, 'javascript');
    assert.equal(event?.clientVersion, 'modal-js/0.11.1');
    assert.equal(typeof event?.durationMs, 'number');
  }));

test('a repeated create with the same key is the same sandbox, also while the first is under way', () =>
  withApi(async (served) => {
    const client = controlPlane(served, { ...served.credentials, 'x-idempotency-key': 'key-1' });
    const request = { appId: served.appId, definition: { ...definition, name: 'once' } };
    const [first, joined] = await Promise.all([
      client.sandboxCreateV2(request),
      client.sandboxCreateV2(request),
    ]);
    const repeated = await client.sandboxCreateV2(request);
    assert.equal(served.sandboxes.list({ limit: 10 }).length, 1);
    assert.deepEqual([joined.sandboxId, repeated.sandboxId], [first.sandboxId, first.sandboxId]);
    assert.equal(repeated.taskId, first.taskId);
    assert.equal(repeated.commandRouterAccess, undefined, 'a token that may have run out is not given again');
    const other = controlPlane(served, { ...served.credentials, 'x-idempotency-key': 'key-2' });
    await assert.rejects(other.sandboxCreateV2(request), code(Code.AlreadyExists));
    const long = controlPlane(served, { ...served.credentials, 'x-idempotency-key': 'k'.repeat(129) });
    await assert.rejects(long.sandboxCreateV2(request), code(Code.InvalidArgument, /x-idempotency-key/));
    const rows = served.domain.store.database.prepare('SELECT response FROM idempotency').all();
    assert.equal(rows.length, 1);
    assert.ok(!Buffer.from(rows[0]?.response as Uint8Array).includes('eyJ'), 'no token is stored');
  }));

test('answers are kept for an hour and across restarts; failures and other callers are not joined', () =>
  withApi(async ({ domain: { store } }) => {
    let now = 1_000_000;
    let runs = 0;
    const once = (
      principal: string,
      run = async () => create(SandboxCreateResponseSchema, { sandboxId: `sb-${++runs}` }),
    ) =>
      new Idempotency(store.answers, () => now).once({
        principal,
        method: 'M',
        key: 'k',
        output: SandboxCreateResponseSchema,
        run,
      });
    await assert.rejects(
      once('a', async () => {
        throw new Error('first try');
      }),
    );
    assert.equal((await once('a')).sandboxId, 'sb-1');
    assert.equal((await once('a')).sandboxId, 'sb-1');
    assert.equal((await once('b')).sandboxId, 'sb-2');
    now += 3_600_001;
    assert.equal((await once('a')).sandboxId, 'sb-3');
    assert.equal(
      store.database.prepare('SELECT key FROM idempotency').all().length,
      1,
      'the old ones are gone',
    );
  }));

test('closing the API ends long polls with UNAVAILABLE, which clients repeat', () =>
  withApi(async (served) => {
    const { created, exec } = await sandbox(served);
    await exec.taskExecStart({ taskId: created.taskId, execId: 'e', commandArgs: ['sleep', '1000'] });
    const waiting = assert.rejects(
      exec.taskExecWait({ taskId: created.taskId, execId: 'e' }),
      code(Code.Unavailable),
    );
    // Another call on the same connection: once it is answered, the wait has arrived.
    await exec.taskExecPoll({ taskId: created.taskId, execId: 'e' });
    served.api.close();
    await waiting;
  }));

test('a call that is over is told of with its token, what it was about and how it went, and nothing else that it said', () => {
  const calls: FinishedCall[] = [];
  return withApi(
    async (served) => {
      const client = controlPlane(served);
      const { sandboxId } = await client.sandboxCreateV2({ appId: served.appId, definition });
      await assert.rejects(client.sandboxWait({ sandboxId: 'not an id', timeout: 0 }));
      const [created, waited] = calls;
      assert.ok(created && created.durationMs > 0);
      const { durationMs: _, ...rest } = created;
      const { appId } = served;
      assert.deepEqual(
        { ...rest, subjects: { ...rest.subjects, taskId: undefined } },
        {
          ...{ api: 'modal', method: 'SandboxCreateV2', status: 'OK', caller: served.token.tokenId },
          subjects: { appId, sandboxId, taskId: undefined },
        },
      );
      assert.deepEqual([waited?.status, waited?.subjects], ['InvalidArgument', {}]);
    },
    { onCall: (call) => calls.push(call) },
  );
});
