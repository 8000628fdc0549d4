/** Traces sent to a collector of the test's own. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { FinishedCall } from './calls.ts';
import { createLogger } from './logger.ts';
import { otlpReceiver } from './testing/otlp-receiver.ts';
import { openTracing, outsideCalls, timed, within } from './tracing.ts';

const FROM = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331' };
const finished: FinishedCall = {
  ...{ api: 'modal', method: 'SandboxCreateV2', status: 'OK', durationMs: 1, caller: 'ak-1' },
  subjects: { sandboxId: 'sb-1', name: 'confidential', path: '/confidential' },
};

async function opened(t: TestContext, status?: number) {
  const receiver = await otlpReceiver(status);
  t.after(() => receiver.close());
  const log: Record<string, unknown>[] = [];
  const logger = createLogger('debug', { write: (line) => void log.push(JSON.parse(line)) });
  const tracing = await openTracing({ endpoint: `${receiver.url}/`, env: {}, version: '1.2.3', logger });
  assert.ok(tracing);
  return { receiver, tracing, log };
}

test('a call is a span of its client’s trace, what it does are spans below it, and only ids are told', async (t) => {
  const { receiver, tracing } = await opened(t);
  const headers = new Map([['traceparent', `00-${FROM.traceId}-${FROM.spanId}-01`]]);
  const span = tracing.begin((name) => headers.get(name));
  await within(span, () =>
    timed('process.start', async () => outsideCalls(() => timed('other', async () => {}))),
  );
  span.end(finished);
  const start = { name: 'sandbox.start', startedAtMs: 1_700_000_000_000.5, ms: 20 };
  span.tell(start, [{ ...start, name: 'runtime', ms: 10.25 }]);
  await tracing.close();

  const by = (name: string) => receiver.spans.find((each) => each.name === name) ?? assert.fail(name);
  const call = by('SandboxCreateV2');
  assert.deepEqual([call.traceId, call.parentId], [FROM.traceId, FROM.spanId]);
  assert.deepEqual(call.attributes, {
    ...{
      'skerry.api': 'modal',
      'rpc.system': 'grpc',
      'rpc.method': 'SandboxCreateV2',
      'skerry.status': 'OK',
    },
    ...{ 'skerry.token_id': 'ak-1', 'skerry.sandbox_id': 'sb-1' },
  });
  assert.equal(by('process.start').parentId, call.spanId);
  assert.equal(by('sandbox.start').parentId, call.spanId);
  const runtime = by('runtime');
  assert.deepEqual([runtime.traceId, runtime.parentId], [FROM.traceId, by('sandbox.start').spanId]);
  assert.equal(runtime.endedAtNs - runtime.startedAtNs, 10_250_000n);
  assert.equal(receiver.spans.length, 4, 'what is done for no call is in no trace');
  assert.equal(receiver.resource['service.name'], 'skerry');
  assert.equal(receiver.resource['service.version'], '1.2.3');
  assert.ok(!receiver.bytes.includes('confidential'));
});

test('a call that says no trace, or nonsense, begins one; one that is not sampled is not sent', async (t) => {
  const { receiver, tracing } = await opened(t);
  const texts = [undefined, `00-${FROM.traceId}-nonsense-01`, `00-${FROM.traceId}-${FROM.spanId}-00`];
  for (const text of texts)
    tracing
      .begin((name) => (name === 'traceparent' ? text : undefined))
      .end({ ...finished, method: 'GET /v1/x', status: '503' });
  await tracing.close();
  assert.equal(receiver.spans.length, 2);
  for (const { traceId, parentId, attributes } of receiver.spans) {
    assert.notEqual(traceId, FROM.traceId);
    assert.equal(parentId, '');
    assert.deepEqual([attributes['http.route'], attributes['http.response.status_code']], ['/v1/x', '503']);
  }
});

test('what a collector refuses is told to the log', async (t) => {
  const { tracing, log } = await opened(t, 400);
  tracing.begin(() => undefined).end(finished);
  await tracing.close();
  assert.deepEqual(
    log.map(({ msg, spans }) => [msg, spans]),
    [['traces.lost', 1]],
  );
});

test('there are traces when an address is given, here or in OpenTelemetry’s variables, and they are not turned off', async () => {
  const logger = createLogger('silent');
  const opens = async (endpoint: string, env: NodeJS.ProcessEnv) => {
    const tracing = await openTracing({ endpoint, env, version: '1', logger });
    await tracing?.close();
    return tracing !== undefined;
  };
  const url = 'http://127.0.0.1:4318';
  assert.equal(await opens('', {}), false);
  assert.equal(await opens('', { OTEL_SERVICE_NAME: 'x' }), false);
  assert.equal(await opens(url, {}), true);
  assert.equal(await opens('', { OTEL_EXPORTER_OTLP_ENDPOINT: url }), true);
  assert.equal(await opens('', { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${url}/v1/traces` }), true);
  assert.equal(await opens(url, { OTEL_SDK_DISABLED: 'true' }), false);
  assert.equal(await opens(url, { OTEL_TRACES_EXPORTER: 'none' }), false);
});
