/** The OpenAPI document against the answers the server really gives. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Validator } from '@seriousme/openapi-schema-validator';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { deadline } from '../../sandboxes/testing/domain.ts';
import {
  MAX_VARIABLE_BYTES,
  MAX_VARIABLES,
  variableNamePattern,
} from '../../secrets/environment-variables.ts';
import { ApiServer, type CallOptions } from './testing/api-server.ts';

interface Operation {
  readonly operationId: string;
  readonly responses: Readonly<
    Record<string, { readonly content?: Readonly<Record<string, { readonly schema: object }>> }>
  >;
}

interface Document {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, object>> };
}

async function documentOf(server: ApiServer): Promise<Document> {
  const { status, text } = await server.call('GET', '/modbox/openapi.json', { key: null });
  assert.equal(status, 200, 'anybody may read it');
  return JSON.parse(text) as Document;
}

/** The operation that an answered request belongs to. */
function operationOf(document: Document, method: string, path: string): Operation | undefined {
  const found = Object.entries(document.paths).find(([template, operations]) => {
    const pattern = template.replace(/[.]/g, '\\.').replace(/\{\w+\}/g, '[^/]+');
    return new RegExp(`^${pattern}$`).test(path) && method.toLowerCase() in operations;
  });
  return found?.[1][method.toLowerCase()];
}

test('it is a valid OpenAPI 3.1 document without schemas nobody uses', async () => {
  await using server = await ApiServer.start();
  const document = await documentOf(server);
  assert.equal(document.openapi, '3.1.0');
  const result = await new Validator().validate({ ...structuredClone(document) });
  assert.deepEqual(result.errors ?? [], []);
  assert.ok(Object.keys(document.components.schemas).every((name) => !name.endsWith('Input')));
});

test('it says what an environment may be', async () => {
  await using server = await ApiServer.start();
  const { schemas } = (await documentOf(server)).components;
  for (const [request, field] of [
    ['ProvisionRequest', 'envVars'],
    ['ExecRequest', 'env'],
    ['CommandRequest', 'env'],
  ] as const) {
    const { properties } = schemas[request] as { properties: Record<string, Record<string, unknown>> };
    assert.deepEqual(properties[field]?.propertyNames, {
      type: 'string',
      pattern: variableNamePattern.source,
    });
    assert.deepEqual(properties[field]?.additionalProperties, {
      type: 'string',
      maxLength: MAX_VARIABLE_BYTES,
    });
    assert.equal(properties[field]?.maxProperties, MAX_VARIABLES);
    assert.match(String(properties[field]?.description), /524288 bytes in all/);
  }
});

test('every endpoint answers, well and badly, as the document says', async () => {
  await using server = await ApiServer.start();
  const document = await documentOf(server);
  const v1 = '/modbox/v1';
  const call = (method: string, path: string, options?: CallOptions) => server.call(method, path, options);

  const api = await server.sandbox('t');
  await call('POST', `${v1}/sandboxes`, { body: { taskId: 't', imageId: 'base' } });
  await call('POST', `${v1}/sandboxes`, { body: { taskId: 't', imageId: 'base', cpu: 2 } });
  await call('POST', `${v1}/sandboxes`, { body: {} });
  for (const path of [
    'sandboxes',
    'sandboxes?limit=x',
    'sandboxes/t',
    'sandboxes/t/wait',
    'sandboxes/none',
  ]) {
    await call('GET', `${v1}/${path}`);
    await call('GET', `${v1}/${path}`, { key: null });
  }
  for (const [which, body] of [
    ['t', { count: 2 }],
    ['t', { count: 2, taskIds: ['a'] }],
    ['t', { count: 101 }],
    ['none', {}],
  ] as const)
    await call('POST', `${v1}/sandboxes/${which}/fork`, { body });
  await call('POST', `${v1}/sandboxes/t/checkpoints`);
  await call('GET', `${v1}/sandboxes/t/checkpoints`);
  await call('DELETE', `${v1}/sandboxes/t/checkpoints/sn-none`);
  await call('POST', `${v1}/sandboxes/t/rollback`, { body: { checkpointId: 'sn-none' } });
  await call('POST', `${v1}/sandboxes/t/rollback`, { body: {} });
  await call('POST', `${v1}/images/default`);
  await call('GET', `${v1}/images/default`);

  const { json: process } = await call('POST', `${api}/processes`, { body: { command: 'echo out' } });
  await server.of('t').processes()[0]?.wait(deadline());
  for (const key of [server.apiKey, 'wrong', server.keyOf('sb-00000000000000000000000000')]) {
    await call('POST', `${api}/exec`, { key, body: { command: 'echo out' } });
    await call('POST', `${api}/exec/stream`, { key, body: { command: 'echo out' } });
    await call('POST', `${api}/processes`, { key, body: { command: 'true' } });
    await call('GET', `${api}/processes`, { key });
    for (const id of [process.processId, 'bg-none']) {
      await call('GET', `${api}/processes/${id}`, { key });
      await call('GET', `${api}/processes/${id}/logs`, { key });
      await call('GET', `${api}/processes/${id}/logs/stream`, { key });
      await call('POST', `${api}/processes/${id}/kill`, { key });
    }
    await call('PUT', `${api}/files?path=/d/f`, { key, raw: 'x' });
    await call('GET', `${api}/files?path=/d/f`, { key });
    await call('GET', `${api}/files?path=/d`, { key });
    await call('GET', `${api}/files/list?path=/d`, { key });
    await call('DELETE', `${api}/files?path=/d/f`, { key });
    await call('POST', `${api}/volumes/reload`, { key });
    await call('GET', `${api}/tunnels`, { key });
    await call('POST', `${api}/connect-tokens`, { key, body: {} });
  }
  await call('DELETE', `${v1}/sandboxes/t`);
  await call('GET', `${v1}/sandboxes/t/wait`);
  await call('POST', `${api}/exec`, { body: { argv: ['true'] } });

  const ajv = new Ajv2020({ strict: false, validateFormats: false });
  ajv.addSchema({ $id: 'openapi', components: document.components });
  const answeredWell = new Set<string>();
  for (const { method, path, status, type, body } of server.answers) {
    if (path === '/modbox/openapi.json') continue;
    const where = `${method} ${path} ${status}`;
    const operation = operationOf(document, method, path);
    assert.ok(operation, `${where} is in the document`);
    const response = operation.responses[status];
    assert.ok(response, `${where} is an answer the document names`);
    if (status < 300) answeredWell.add(operation.operationId);
    const mediaType = type.split(';')[0] ?? '';
    const schema = response.content?.[mediaType]?.schema;
    assert.ok(schema, `${where}: ${mediaType} is a type the document names`);
    if (mediaType !== 'application/json') continue;
    const absolute = JSON.parse(JSON.stringify(schema).replaceAll('"#/', '"openapi#/')) as object;
    assert.ok(ajv.validate(absolute, JSON.parse(body)), `${where}: ${ajv.errorsText()} in ${body}`);
  }
  const operations = Object.values(document.paths).flatMap((methods) => Object.values(methods));
  const untested = operations.map(({ operationId }) => operationId).filter((id) => !answeredWell.has(id));
  // `e2e/life/forks.test.ts` has them answer well.
  const takeGvisor = ['forkSandbox', 'createCheckpoint', 'deleteCheckpoint', 'rollBackSandbox'];
  assert.deepEqual(untested, takeGvisor);
});
