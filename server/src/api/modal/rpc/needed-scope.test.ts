import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Code } from '@connectrpc/connect';
import type { Scope } from '../../../auth/scopes.ts';
import { ModalClient } from '../gen/modal/service_pb.ts';
import { ObjectCreationType } from '../gen/modal/workspace_pb.ts';
import { code, controlPlane, definition, router, sandbox, withApi } from '../testing/clients.ts';
import type { ServedApi } from '../testing/served-api.ts';
import { parseSandboxId } from './fields.ts';
import { findingRpcs, lookingRpcs } from './needed-scope.ts';

function clientWith(served: ServedApi, scope: Scope) {
  const { tokenId, tokenSecret } = served.tokens.issue({ label: '', scope });
  const client = controlPlane(served, { 'x-modal-token-id': tokenId, 'x-modal-token-secret': tokenSecret });
  return { tokenId, client };
}

test('every RPC that needs less than others is one of the wire', () => {
  const names = new Set(ModalClient.methods.map(({ name }) => name));
  assert.deepEqual(
    [...lookingRpcs, ...findingRpcs].filter((name) => !names.has(name)),
    [],
  );
});

test('a token with the scope read looks and changes nothing', () =>
  withApi(async (served) => {
    const { made } = await sandbox(served, { name: 'seen' });
    const { client } = clientWith(served, 'read');
    const { sandboxes } = await client.sandboxListV2({ appId: served.appId });
    assert.deepEqual(
      sandboxes.map(({ id }) => id),
      [made.id],
    );
    const find = { deploymentName: 'main', objectCreationType: ObjectCreationType.UNSPECIFIED };
    assert.ok((await client.environmentGetOrCreate(find)).environmentId);
    assert.ok((await client.authTokenGet({})).token);
    const refused = code(
      Code.PermissionDenied,
      /needs a token with the scope 'sandboxes'; this one has 'read'/,
    );
    const make = { ...find, objectCreationType: ObjectCreationType.CREATE_IF_MISSING };
    await assert.rejects(client.environmentGetOrCreate(make), refused);
    await assert.rejects(client.sandboxCreateV2({ appId: served.appId, definition }), refused);
    await assert.rejects(client.sandboxTerminateV2({ sandboxId: made.id }), refused);
    await assert.rejects(client.taskGetCommandRouterAccess({ taskId: made.taskId }), refused);
    await assert.rejects(client.sandboxCreateConnectToken({ sandboxId: made.id }), refused);
    assert.equal(served.sandboxes.get(made.id).state === 'ended', false);
  }));

test('a revoked token ends what it is used for: calls under way, and access to sandboxes', () =>
  withApi(async (served) => {
    const { tokenId, client } = clientWith(served, 'sandboxes');
    const { sandboxId, commandRouterAccess } = await client.sandboxCreateV2({
      appId: served.appId,
      definition,
    });
    const made = served.sandboxes.get(parseSandboxId(sandboxId));
    const inside = router(served, commandRouterAccess?.jwt ?? '');
    const list = () => inside.taskContainerList({ taskId: made.taskId });
    await list();
    const asked = Promise.withResolvers<void>();
    const wait = made.wait.bind(made);
    made.wait = (timeoutMs, signal) => {
      asked.resolve();
      return wait(timeoutMs, signal);
    };
    const waiting = assert.rejects(
      client.sandboxWaitV2({ sandboxId, timeout: 55 }),
      code(Code.Unauthenticated, /revoked/),
    );
    await asked.promise;
    served.tokens.revoke(tokenId);
    await waiting;
    await assert.rejects(client.sandboxListV2({}), code(Code.Unauthenticated));
    await assert.rejects(list(), code(Code.Unauthenticated, /revoked/));
  }));
