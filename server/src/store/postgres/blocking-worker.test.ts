import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BlockingWorker } from './blocking-worker.ts';

/** Answers one question with what was before it, and dies of the next. */
const PROGRAM = `
import { workerData } from 'node:worker_threads';
const { port, answers, sessionsBefore } = workerData;
const counter = new Int32Array(answers);
let asked = 0;
port.on('message', ({ kind }) => {
  if (kind === 'query' && asked++ > 0) throw new Error('dies');
  port.postMessage({ kind: 'result', rows: [], changes: 0, command: '', session: sessionsBefore });
  Atomics.add(counter, 0, 1);
  Atomics.notify(counter, 0);
});`;

test('a worker that dies is told of, and the next question has another, which knows no session of the one before', () => {
  const program = new URL(`data:text/javascript,${encodeURIComponent(PROGRAM)}`);
  const worker = new BlockingWorker({ url: 'postgres://none' }, { program, patienceMs: 5_000 });
  const question = { kind: 'query', text: '' } as const;
  const first = worker.ask(question);
  assert.equal(first.kind, 'result');
  assert.equal(worker.ask(question).kind, 'unreachable');
  const next = worker.ask(question);
  assert.ok(next.kind === 'result' && first.kind === 'result' && next.session > first.session);
  worker.close();
  worker.close();
  assert.throws(() => worker.ask(question), /closed/);
});
