import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatTable } from './ls.ts';

const sandbox = (fields: object) => ({
  id: 'sb-1',
  createdAt: 0,
  appId: 'ap-1',
  app: 'my-app',
  name: '',
  imageId: 'im-1',
  isolation: 'gvisor',
  state: 'running',
  tags: [],
  ...fields,
});

test('columns line up, and what callers chose cannot play with the terminal', () => {
  const table = formatTable([
    sandbox({ name: 'worker', tags: [{ tagName: 'k', tagValue: 'v' }] }),
    sandbox({ id: 'sb-long-id', state: 'suspended', tags: [{ tagName: 'x', tagValue: '\u001b[2J' }] }),
  ]);
  assert.deepEqual(table.split('\n'), [
    'SANDBOX     NAME    APP     STATE      ISOLATION  CREATED                   TAGS',
    'sb-1        worker  my-app  running    gvisor     1970-01-01T00:00:00.000Z  k=v',
    'sb-long-id  -       my-app  suspended  gvisor     1970-01-01T00:00:00.000Z  x=\\x1b[2J',
    '',
  ]);
});

test('nothing to list is said', () => {
  assert.equal(formatTable([]), 'No sandbox is running.\n');
});
