import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { EVENT_RIGHT, POLICY_RIGHT, RIGHTS } from './rights.ts';

test('the Role of the manifests lets a server do what it asks for, and no more', () => {
  const file = new URL('../../../../deploy/kubernetes/access.yaml', import.meta.url);
  const documents = parseAllDocuments(readFileSync(file, 'utf8')).map((document) => document.toJS());
  const role = documents.find(({ kind }) => kind === 'Role');
  assert.deepEqual(
    role.rules,
    [...RIGHTS, EVENT_RIGHT, POLICY_RIGHT].map(({ apiGroup, resource, verbs }) => ({
      ...{ apiGroups: [apiGroup], resources: [resource], verbs },
    })),
  );
  assert.ok(documents.every(({ kind }) => !String(kind).startsWith('Cluster')));
});
