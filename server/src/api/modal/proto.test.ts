/** proto/ is a subset of what the clients speak: the same names, numbers and types as in the descriptors inside the Python package. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type DescFile, fromBinary, isFieldSet } from '@bufbuild/protobuf';
import {
  type DescriptorProto,
  FieldDescriptorProtoSchema,
  type FileDescriptorProto,
  FileDescriptorProtoSchema,
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
} from '@bufbuild/protobuf/wkt';
import { run } from '../../platform/command.ts';
import { file_modal_service } from './gen/modal/service_pb.ts';
import { file_modal_task_command_router } from './gen/modal/task_command_router_pb.ts';

const python =
  process.env.SKERRY_PYTHON ??
  fileURLToPath(new URL('../../../../.skerry/venv/modal-1.6.4/bin/python', import.meta.url));
const skip = existsSync(python) ? false : `no Python with modal at ${python}; name one by SKERRY_PYTHON`;

/** Gone from the current clients, still spoken by older ones. */
const legacy = [
  'message modal.client.ContainerFilesystemExecGetOutputRequest',
  'message modal.client.FilesystemRuntimeOutputBatch',
  'message modal.client.SystemErrorMessage',
  'enum modal.client.SystemErrorCode',
  'rpc modal.client.ModalClient.ContainerFilesystemExecGetOutput',
];

/** A file's declarations by name: of messages and enums their members by name, of RPCs their signature. */
function declarations(file: FileDescriptorProto): Map<string, Map<string, string>> {
  const result = new Map<string, Map<string, string>>();
  const addEnum = (scope: string, { name, value }: FileDescriptorProto['enumType'][number]) =>
    result.set(`enum ${scope}.${name}`, new Map(value.map((one) => [one.name, String(one.number)])));
  const addMessage = (scope: string, message: DescriptorProto) => {
    const name = `${scope}.${message.name}`;
    const fields = message.field.map((field): [string, string] => {
      // An optional field has a oneof of its own, which is a detail of how descriptors are encoded.
      const oneof =
        isFieldSet(field, FieldDescriptorProtoSchema.field.oneofIndex) && !field.proto3Optional
          ? ` in ${message.oneofDecl[field.oneofIndex]?.name}`
          : '';
      const optional = field.proto3Optional ? ' optional' : '';
      return [
        field.name,
        `${field.number} ${Label[field.label]} ${Type[field.type]}${field.typeName}${optional}${oneof}`,
      ];
    });
    result.set(`message ${name}`, new Map(fields));
    for (const nested of message.nestedType) addMessage(name, nested);
    for (const nested of message.enumType) addEnum(name, nested);
  };
  for (const message of file.messageType) addMessage(file.package, message);
  for (const one of file.enumType) addEnum(file.package, one);
  for (const service of file.service) {
    for (const rpc of service.method) {
      const stream = `${rpc.clientStreaming ? 'stream ' : ''}${rpc.inputType} ${rpc.serverStreaming ? 'stream ' : ''}${rpc.outputType}`;
      result.set(`rpc ${file.package}.${service.name}.${rpc.name}`, new Map([['signature', stream]]));
    }
  }
  return result;
}

/** The file and what it imports of ours. */
function withImports(file: DescFile, seen = new Set<DescFile>()): Set<DescFile> {
  if (seen.has(file) || file.proto.package.startsWith('google.')) return seen;
  seen.add(file);
  for (const imported of file.dependencies) withImports(imported, seen);
  return seen;
}

test('names, numbers and types are those of the Python client 1.6.4', { skip }, async () => {
  const script = `
import base64
from modal_proto import api_pb2, task_command_router_pb2
for module in (api_pb2, task_command_router_pb2):
    print(base64.b64encode(module.DESCRIPTOR.serialized_pb).decode())
`;
  const { stdout } = await run([python, '-c', script]);
  const theirs = new Map(
    stdout
      .trim()
      .split('\n')
      .map((line) => fromBinary(FileDescriptorProtoSchema, Buffer.from(line, 'base64')))
      .flatMap((file) => [...declarations(file)]),
  );
  const files = withImports(file_modal_task_command_router, withImports(file_modal_service));
  const ours = new Map([...files].flatMap(({ proto }) => [...declarations(proto)]));
  assert.ok(ours.size > 200, 'the subset was found');
  const unknown = [...ours.keys()].filter((name) => !theirs.has(name));
  assert.deepEqual(unknown.sort(), legacy.sort());
  for (const [name, members] of ours) {
    const published = theirs.get(name);
    if (!published) continue;
    for (const [member, declared] of members)
      assert.equal(declared, published.get(member), `${name}.${member}`);
  }
});
