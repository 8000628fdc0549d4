import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create, type DescMessage } from '@bufbuild/protobuf';
import { ContainerExecWaitRequestSchema } from '../gen/modal/containers_pb.ts';
import {
  SandboxGetCommandRouterAccessRequestSchema,
  SandboxWaitRequestSchema,
} from '../gen/modal/sandboxes_pb.ts';
import { ModalClient } from '../gen/modal/service_pb.ts';
import { aboutOf, subjectFields } from './about.ts';

test('a request is about the sandboxes and tasks that it names', () => {
  assert.deepEqual(aboutOf(create(SandboxWaitRequestSchema, { sandboxId: 'sb-1', timeout: 5 })), ['sb-1']);
  const byTask = { target: { case: 'taskId', value: 'ta-2' } } as const;
  assert.deepEqual(aboutOf(create(SandboxGetCommandRouterAccessRequestSchema, byTask)), ['ta-2']);
  assert.deepEqual(aboutOf(create(ContainerExecWaitRequestSchema, { execId: 'ta-3.ex-4' })), ['ta-3']);
  for (const sandboxId of ['', 'im-1', 'sb-', 'sb-1/2', `sb-${'1'.repeat(65)}`, 'x sb-1'])
    assert.deepEqual(aboutOf(create(SandboxWaitRequestSchema, { sandboxId })), [], sandboxId);
});

/** Fields of requests that could say which sandbox is meant, each with how deep it is. */
function fieldsLike(message: DescMessage, depth = 0): readonly (readonly [string, number])[] {
  return message.fields.flatMap((field) => {
    if (field.message && depth < 4) return fieldsLike(field.message, depth + 1);
    return /(sandbox|task|exec|container|instance)_ids?$|descriptor$/.test(field.name)
      ? [[field.localName, depth] as const]
      : [];
  });
}

/** Which output is meant, or which open file, beside the sandbox or task; and what no handler looks at. */
const OTHERS: ReadonlySet<string> = new Set(['fileDescriptor', 'VolumeCommit containerId']);

test('no request of the control plane names a sandbox in another field, or deeper', () => {
  const found = ModalClient.methods.flatMap(({ name, input }) =>
    fieldsLike(input)
      .filter(([field, depth]) => depth > 0 || !subjectFields.has(field))
      .filter(([field]) => !OTHERS.has(field) && !OTHERS.has(`${name} ${field}`))
      .map(([field, depth]) => `${name}: ${field} at ${depth}`),
  );
  assert.deepEqual(found, []);
});
