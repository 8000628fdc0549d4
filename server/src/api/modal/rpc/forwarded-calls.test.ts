import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import { SkerryError } from '../../../errors/skerry-error.ts';
import { RPCRetryPolicySchema } from '../gen/modal/common_pb.ts';
import {
  TaskExecStdinWriteStreamEndSchema,
  type TaskExecStdinWriteStreamRequest,
  TaskExecStdinWriteStreamStartSchema,
} from '../gen/modal/task_command_router_pb.ts';
import { code, utf8 } from '../testing/clients.ts';
import { HOST, SANDBOX, TASK, twoServers } from '../testing/two-servers.ts';
import { callOf } from './call.ts';
import type { ModalHandlers, RouterHandlers } from './service.ts';

const MiB = 1 << 20;

/** Tells what a handler sees of its call, as tags. */
const tellCall: ModalHandlers = {
  sandboxTagsGet(_request, context) {
    const { requestHeader } = context;
    const { authority, encrypted, client, clientVersion } = callOf(context);
    const seen = { authority, encrypted, client, clientVersion, key: requestHeader.get('x-idempotency-key') };
    const inside = requestHeader.get('skerry-forwarded');
    return {
      tags: Object.entries({ ...seen, inside }).map(([tagName, value]) => ({
        tagName,
        tagValue: `${value}`,
      })),
    };
  },
};

const asObject = (tags: readonly { readonly tagName: string; readonly tagValue: string }[]) =>
  Object.fromEntries(tags.map(({ tagName, tagValue }) => [tagName, tagValue]));

/** Resolves when a handler that never answers has been reached, and then when it was told to stop. */
function silent() {
  const reached = Promise.withResolvers<AbortSignal>();
  const wait = async ({ signal }: { readonly signal: AbortSignal }): Promise<never> => {
    reached.resolve(signal);
    if (!signal.aborted) await once(signal, 'abort');
    throw signal.reason;
  };
  return { wait, reached: reached.promise };
}

test('a call is answered by the server whose it is, which sees what the client said; it is counted there alone', async (t) => {
  const servers = await twoServers(t, {
    front: { controlPlane: tellCall },
    back: { controlPlane: tellCall },
  });
  const client = servers.controlPlane(servers.front, {
    'x-idempotency-key': 'a key',
    'x-modal-client-type': '8',
    'x-modal-libmodal-version': 'modal-js/0.11.1',
  });
  const { tags } = await client.sandboxTagsGet({ sandboxId: SANDBOX });
  assert.deepEqual(asObject(tags), {
    ...{ authority: `localhost:${servers.front.peer.port}`, encrypted: 'false', key: 'a key' },
    ...{ client: 'javascript', clientVersion: 'modal-js/0.11.1', inside: 'null' },
  });
  assert.deepEqual(servers.asked, [[[SANDBOX], 'SandboxTagsGet']]);
  assert.deepEqual([servers.front.calls.length, servers.back.calls.length], [0, 1]);
});

test('a call without a handler here is for whoever answers what is about no sandbox', async (t) => {
  const list = { secretList: () => ({ items: [] }) };
  const servers = await twoServers(t, { back: { controlPlane: list } });
  await servers.controlPlane().secretList({});
  await assert.rejects(servers.controlPlane().volumeList({}), code(Code.Unimplemented, /VolumeList/));
  assert.deepEqual([...servers.back.api.unknownRpcs()], [['VolumeList', 1]]);
  assert.equal(servers.front.api.unknownRpcs().size, 0);
});

test('nobody is forwarded who has no token', async (t) => {
  const servers = await twoServers(t, { back: { controlPlane: tellCall } });
  const stranger = servers.controlPlane(servers.front, { 'x-modal-token-secret': 'as-wrong' });
  await assert.rejects(stranger.sandboxTagsGet({ sandboxId: SANDBOX }), code(Code.Unauthenticated));
  assert.deepEqual(servers.asked, []);
});

test('what is to happen once per key happens once, by way of either server', async (t) => {
  let writes = 0;
  const write: ModalHandlers = {
    sandboxStdinWrite: () => {
      writes++;
      return {};
    },
  };
  const servers = await twoServers(t, { front: { controlPlane: write }, back: { controlPlane: write } });
  for (const server of [servers.front, servers.back, servers.front]) {
    await servers
      .controlPlane(server, { 'x-idempotency-key': 'k' })
      .sandboxStdinWrite({ sandboxId: SANDBOX });
  }
  assert.equal(writes, 1);
});

test('an error comes back with its code, words and details', async (t) => {
  const failing: ModalHandlers = {
    sandboxTagsGet: () => {
      throw new SkerryError('rate-limited', 'Größe: 100 %', { details: { retryAfterMs: 1500 } });
    },
    // biome-ignore lint/correctness/useYield: it fails first
    async *sandboxGetLogs() {
      throw new SkerryError('not-found', 'gone');
    },
  };
  const servers = await twoServers(t, { back: { controlPlane: failing } });
  await assert.rejects(servers.controlPlane().sandboxTagsGet({ sandboxId: SANDBOX }), (error) => {
    assert.ok(error instanceof ConnectError);
    const [policy] = error.findDetails(RPCRetryPolicySchema);
    assert.equal(policy?.retryAfterSecs, 1.5);
    return code(Code.ResourceExhausted, /^Größe: 100 %\. Wait/)(error);
  });
  const logs = servers.controlPlane().sandboxGetLogs({ sandboxId: SANDBOX });
  await assert.rejects(Array.fromAsync(logs), code(Code.NotFound, /gone/));
});

test('streams go both ways as they come', async (t) => {
  const more = Promise.withResolvers<void>();
  const inputs: string[] = [];
  const commandRouter: RouterHandlers = {
    async *taskExecStdioRead() {
      yield { data: utf8('first') };
      await more.promise;
      yield { data: utf8('second') };
    },
    async taskExecStdinWriteStream(requests) {
      for await (const { payload } of requests) {
        if (payload.case === 'data') inputs.push(Buffer.from(payload.value).toString());
        if (payload.case === 'end') return {};
      }
      throw new SkerryError('invalid-argument', 'no end');
    },
  };
  const servers = await twoServers(t, { back: { commandRouter } });
  const router = await servers.router();
  const got: string[] = [];
  for await (const { data } of router.taskExecStdioRead({ taskId: TASK, execId: 'e' })) {
    got.push(Buffer.from(data).toString());
    more.resolve();
  }
  assert.deepEqual(got, ['first', 'second']);
  const payloads: readonly TaskExecStdinWriteStreamRequest['payload'][] = [
    { case: 'start', value: create(TaskExecStdinWriteStreamStartSchema, { taskId: TASK, execId: 'e' }) },
    { case: 'data', value: utf8('a') },
    { case: 'data', value: utf8('b') },
    { case: 'end', value: create(TaskExecStdinWriteStreamEndSchema) },
  ];
  await router.taskExecStdinWriteStream(
    (async function* () {
      for (const payload of payloads) yield { payload };
    })(),
  );
  assert.deepEqual(inputs, ['a', 'b']);
  await assert.rejects(
    router.taskExecStdinWriteStream((async function* () {})()),
    code(Code.InvalidArgument, /no end/),
  );
  assert.ok(servers.asked.every(([about]) => about[0] === SANDBOX && about.length === 1));
});

test('messages of 20 MiB pass both ways', async (t) => {
  const large = Buffer.alloc(20 * MiB, 'x');
  const controlPlane: ModalHandlers = {
    sandboxStdinWrite: ({ input }) => {
      assert.ok(large.equals(input));
      return {};
    },
    async *containerExecGetOutput() {
      yield { items: [{ messageBytes: large }] };
    },
  };
  const servers = await twoServers(t, { back: { controlPlane } });
  const client = servers.controlPlane();
  await client.sandboxStdinWrite({ sandboxId: SANDBOX, input: large });
  for await (const { items } of client.containerExecGetOutput({ execId: `${TASK}.ex-1` }))
    assert.ok(large.equals(items[0]?.messageBytes ?? large.subarray(1)));
});

test('the deadline of a call ends it at both servers', async (t) => {
  const { wait, reached } = silent();
  const controlPlane: ModalHandlers = { sandboxTagsGet: (_, context) => wait(context) };
  const servers = await twoServers(t, { back: { controlPlane } });
  const call = servers.controlPlane().sandboxTagsGet({ sandboxId: SANDBOX }, { timeoutMs: 300 });
  await assert.rejects(call, code(Code.DeadlineExceeded));
  const signal = await reached;
  if (!signal.aborted) await once(signal, 'abort');
});

for (const [kind, rpc] of [
  ['a call', 'taskExecWait'],
  ['a stream', 'taskExecStdioRead'],
] as const) {
  test(`whoever leaves ${kind} leaves it at both servers`, async (t) => {
    const { wait, reached } = silent();
    const commandRouter: RouterHandlers = {
      taskExecWait: (_, context) => wait(context),
      // biome-ignore lint/correctness/useYield: it never answers
      async *taskExecStdioRead(_, context) {
        await wait(context);
      },
    };
    const servers = await twoServers(t, { back: { commandRouter } });
    const router = await servers.router();
    const leaving = new AbortController();
    const about = { taskId: TASK, execId: 'e' };
    const call =
      rpc === 'taskExecWait'
        ? router.taskExecWait(about, { signal: leaving.signal })
        : Array.fromAsync(router.taskExecStdioRead(about, { signal: leaving.signal }));
    const left = assert.rejects(call, code(Code.Canceled));
    const signal = await reached;
    leaving.abort();
    await left;
    if (!signal.aborted) await once(signal, 'abort');
  });
}

test('a server that closes ends what it has others answer with UNAVAILABLE, which clients repeat', async (t) => {
  const { wait, reached } = silent();
  const commandRouter: RouterHandlers = { taskExecWait: (_, context) => wait(context) };
  const servers = await twoServers(t, { back: { commandRouter } });
  const call = (await servers.router()).taskExecWait({ taskId: TASK, execId: 'e' });
  const ended = assert.rejects(call, code(Code.Unavailable, /restarting/));
  const signal = await reached;
  servers.front.api.close();
  await ended;
  if (!signal.aborted) await once(signal, 'abort');
});

test('a server that dies in the middle of a stream ends it with UNAVAILABLE, behind what it had said; the next call finds it again', async (t) => {
  const never = Promise.withResolvers<never>();
  const commandRouter: RouterHandlers = {
    async *taskExecStdioRead() {
      yield { data: utf8('first') };
      await never.promise;
    },
    taskExecPoll: () => ({}),
  };
  const servers = await twoServers(t, { back: { commandRouter }, patienceMs: 60_000 });
  const router = await servers.router();
  const about = { taskId: TASK, execId: 'e' };
  const got: Uint8Array[] = [];
  await assert.rejects(
    async () => {
      for await (const { data } of router.taskExecStdioRead(about)) {
        got.push(data);
        await servers.back.close();
      }
    },
    code(Code.Unavailable, /cannot be reached/),
  );
  assert.equal(got.length, 1);
  const next = router.taskExecPoll(about);
  await servers.reopenBack();
  await next;
});

test('a server that is not there is UNAVAILABLE once patience is over', async (t) => {
  const servers = await twoServers(t, { back: {}, patienceMs: 1 });
  await servers.back.close();
  const call = servers.controlPlane().sandboxTagsGet({ sandboxId: SANDBOX });
  await assert.rejects(call, code(Code.Unavailable, /cannot be reached/));
});

test('a server with another key is asked nothing', async (t) => {
  const servers = await twoServers(t, {
    back: { controlPlane: tellCall },
    seenAs: (peer) => ({ ...peer, fingerprint: `sha256:${'0'.repeat(64)}` }),
    patienceMs: 1,
  });
  const call = servers.controlPlane().sandboxTagsGet({ sandboxId: SANDBOX });
  await assert.rejects(call, code(Code.Unavailable));
  assert.deepEqual(servers.back.calls, []);
});

test('a client that says it is a server is none', async (t) => {
  const servers = await twoServers(t, {
    front: { controlPlane: tellCall },
    back: { controlPlane: tellCall },
  });
  const said = `${Buffer.alloc(32, 1).toString('base64url')} tls`;
  for (const server of [servers.front, servers.back]) {
    const client = servers.controlPlane(server, { 'skerry-forwarded': said });
    const { encrypted, inside } = asObject((await client.sandboxTagsGet({ sandboxId: SANDBOX })).tags);
    assert.deepEqual([encrypted, inside], ['false', 'null']);
  }
});

test('what is forwarded is not forwarded again', async (t) => {
  const servers = await twoServers(t, { back: { controlPlane: tellCall }, disagreeing: true });
  const call = servers.controlPlane().sandboxTagsGet({ sandboxId: SANDBOX });
  await assert.rejects(call, code(Code.Unavailable, /just begun/));
  const router = await servers.router();
  await assert.rejects(
    router.taskExecPoll({ taskId: TASK, execId: 'e' }),
    code(Code.Unavailable, /just begun/),
  );
  assert.deepEqual(servers.back.calls, []);
});

test('a reader that is slow stops the program, at whichever server that is', async (t) => {
  const total = 128;
  let made = 0;
  const commandRouter: RouterHandlers = {
    async *taskExecStdioRead() {
      for (; made < total; made++) yield { data: Buffer.alloc(MiB) };
    },
    taskExecPoll: () => ({}),
  };
  const servers = await twoServers(t, { back: { commandRouter } });
  const router = await servers.router();
  const about = { taskId: TASK, execId: 'e' };
  let read = 0;
  for await (const _ of router.taskExecStdioRead(about)) {
    if (read++ > 0) continue;
    for (let before = -1; before !== made; ) {
      before = made;
      await pause(200); // as long as it makes more, it is looked at again
      await router.taskExecPoll(about); // another call on the same connection passes
    }
    assert.ok(made < total / 2, `${made} MiB were made`);
  }
  assert.equal(read, total);
});

test('a call that another server answers ends with its token', async (t) => {
  const { wait, reached } = silent();
  const controlPlane: ModalHandlers = { sandboxTagsGet: (_, context) => wait(context) };
  const servers = await twoServers(t, { back: { controlPlane } });
  const { tokenId, tokenSecret } = servers.tokens.issue({ label: '', scope: 'read' });
  const headers = { 'x-modal-token-id': tokenId, 'x-modal-token-secret': tokenSecret };
  const call = servers.controlPlane(servers.front, headers).sandboxTagsGet({ sandboxId: SANDBOX });
  const ended = assert.rejects(call, code(Code.Unauthenticated, /revoked/));
  await reached;
  servers.tokens.revoke(tokenId);
  await ended;
});

test('calls in JSON are forwarded too, and their errors are in their protocol', async (t) => {
  const servers = await twoServers(t, {
    front: { controlPlane: tellCall },
    back: {
      controlPlane: {
        ...tellCall,
        sandboxGetTaskId: () => {
          throw new SkerryError('not-found', 'gone');
        },
      },
    },
  });
  const call = async (rpc: string, body: string) => {
    const answer = await fetch(`http://${HOST}:${servers.front.peer.port}/modal.client.ModalClient/${rpc}`, {
      ...{ method: 'POST', body },
      headers: { ...servers.credentials, 'content-type': 'application/json' },
    });
    return [answer.status, (await answer.json()) as Record<string, unknown>] as const;
  };
  const [status, { tags }] = await call('SandboxTagsGet', JSON.stringify({ sandboxId: SANDBOX }));
  assert.equal(status, 200);
  const { authority } = asObject(tags as { tagName: string; tagValue: string }[]);
  assert.equal(authority, `${HOST}:${servers.front.peer.port}`);
  const [missing, error] = await call('SandboxGetTaskId', JSON.stringify({ sandboxId: SANDBOX }));
  assert.deepEqual([missing, error.code], [404, 'not_found']);
  assert.equal((await call('SandboxTagsGet', '{'))[0], 400);
  await servers.back.close();
  const [away, unavailable] = await call('SandboxTagsGet', JSON.stringify({ sandboxId: SANDBOX }));
  assert.deepEqual([away, unavailable.code], [503, 'unavailable']);
});
