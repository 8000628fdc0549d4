import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApiServer } from '../modbox/testing/api-server.ts';
import { sandboxIn } from './subjects.ts';

/** What a path of an interface has in the place of a sandbox. */
const STANDS_FOR_SANDBOX = /\{(?:sandboxId|taskId)\}/;

test('what stands for a sandbox is found in the path of each route that has it, and in no other', async () => {
  await using server = await ApiServer.start();
  let withSandbox = 0;
  for (const document of ['/v1/openapi.json', '/modbox/openapi.json']) {
    const answer = await fetch(`${server.url}${document}`);
    const { paths } = (await answer.json()) as { paths: Record<string, unknown> };
    for (const template of Object.keys(paths)) {
      const has = STANDS_FOR_SANDBOX.test(template);
      if (has) withSandbox++;
      const path = template.replace(STANDS_FOR_SANDBOX, 'a%20name').replaceAll(/\{\w+\}/g, 'other');
      assert.equal(sandboxIn(path), has ? 'a name' : undefined, path);
    }
  }
  assert.ok(withSandbox > 30, `${withSandbox} paths`);
  assert.equal(sandboxIn('/skerry/v1/sandboxes/it/suspend'), 'it');
});

test('what is no such path has none', () => {
  for (const path of [
    '/v1/sandboxes',
    '/v1/sandboxes/',
    '/v1/sandboxes/%',
    '/v2/sandboxes/it',
    '/x/v1/sandboxes/it',
  ])
    assert.equal(sandboxIn(path), undefined, path);
});
