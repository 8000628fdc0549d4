import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { agentErrors, errorFromAgent } from './messages.ts';

const agentFile = (name: string): string =>
  readFileSync(new URL(`../../../agent/${name}`, import.meta.url), 'utf8');

test('the kinds of ERROR are the same in the agent, in its protocol and here', () => {
  const here = [...agentErrors.keys()].sort();
  const inAgent = [...agentFile('src/failure.rs').matchAll(/ErrorKind::\w+ => "([a-z-]+)"/g)];
  assert.deepEqual(inAgent.map(([, word]) => word).sort(), here);
  const paragraph = /^ERROR kinds: [\s\S]*?\n\n/m.exec(agentFile('PROTOCOL.md'))?.[0] ?? '';
  assert.deepEqual([...paragraph.matchAll(/`([a-z-]+)`/g)].map(([, word]) => word).sort(), here);
});

test('an ERROR is what its kind is to the caller, and one of no known kind is our fault', () => {
  const told = errorFromAgent(JSON.stringify({ kind: 'bad-user', message: "there is no user 'x'" }));
  assert.deepEqual([told.code, told.message], ['bad-user', "There is no user 'x'"]);
  assert.equal(errorFromAgent(JSON.stringify({ kind: 'new', message: '' })).code, 'internal');
});
