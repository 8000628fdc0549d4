/** Traces by OpenTelemetry's SDK, sent as OTLP over HTTP. What its variables say (`OTEL_…`) it reads itself. */
import {
  type Context,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import { ExportResultCode, W3CTraceContextPropagator } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import {
  defaultResource,
  detectResources,
  envDetector,
  resourceFromAttributes,
} from '@opentelemetry/resources';
import { BasicTracerProvider, BatchSpanProcessor, type SpanExporter } from '@opentelemetry/sdk-trace-base';
import type { FinishedCall } from './calls.ts';
import type { Logger } from './logger.ts';
import type { CallSpan, Part, Tracing, TracingOptions } from './tracing.ts';

/** As `ids.ts` makes them, and tokens': what else a client wrote is told to nobody. */
const ID = /^[a-z]{2,3}-[0-9A-Za-z]{1,64}$/;
/** What a server is to blame for, by https://opentelemetry.io/docs/specs/semconv/rpc/grpc/ */
const FAILURES: ReadonlySet<string> = new Set([
  ...['Unknown', 'DeadlineExceeded', 'Unimplemented', 'Internal', 'Unavailable', 'DataLoss'],
]);

export class OtlpTracing implements Tracing {
  readonly #provider: BasicTracerProvider;
  readonly #tracer: Tracer;
  readonly #propagator = new W3CTraceContextPropagator();

  constructor({ endpoint, version, logger }: Omit<TracingOptions, 'env'>) {
    const url = endpoint === '' ? {} : { url: `${endpoint.replace(/\/+$/, '')}/v1/traces` };
    const service = resourceFromAttributes({ 'service.name': 'skerry', 'service.version': version });
    this.#provider = new BasicTracerProvider({
      resource: defaultResource()
        .merge(service)
        .merge(detectResources({ detectors: [envDetector] })),
      spanProcessors: [new BatchSpanProcessor(telling(new OTLPTraceExporter(url), logger))],
    });
    this.#tracer = this.#provider.getTracer('skerry', version);
  }

  begin(header: (name: string) => string | undefined): CallSpan {
    const get = (_carrier: unknown, name: string) => header(name);
    const from = this.#propagator.extract(ROOT_CONTEXT, undefined, { get, keys: () => [] });
    const span = this.#tracer.startSpan('call', { kind: SpanKind.SERVER }, from);
    const under = trace.setSpan(ROOT_CONTEXT, span);
    return {
      tell: (part, parts = []) => {
        const told = this.#part(part, under);
        for (const each of parts) this.#part(each, trace.setSpan(ROOT_CONTEXT, told));
      },
      end: (call) => end(span, call),
    };
  }

  async close(): Promise<void> {
    await this.#provider.shutdown().catch(() => {}); // what could not be sent is in the log
  }

  #part({ name, startedAtMs, ms }: Part, under: Context): Span {
    const span = this.#tracer.startSpan(name, { startTime: startedAtMs }, under);
    span.end(startedAtMs + Math.max(ms, 0));
    return span;
  }
}

function end(span: Span, { api, method, status, caller, subjects }: FinishedCall): void {
  span.updateName(method);
  span.setAttribute('skerry.api', api);
  const [verb = '', route] = method.split(' ');
  if (route === undefined) {
    span.setAttributes({ 'rpc.system': 'grpc', 'rpc.method': method, 'skerry.status': status });
  } else {
    span.setAttributes({ 'http.request.method': verb, 'http.route': route });
    span.setAttribute('http.response.status_code', Number(status));
  }
  for (const [name, value] of Object.entries({ tokenId: caller, ...subjects })) {
    if (value !== undefined && ID.test(value)) span.setAttribute(`skerry.${snakeCase(name)}`, value);
  }
  if (FAILURES.has(status) || Number(status) >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
  span.end();
}

const snakeCase = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** The same exporter, which says in the log what it could not send: OpenTelemetry itself says nothing. */
function telling(exporter: SpanExporter, logger: Logger): SpanExporter {
  return {
    export: (spans, done) =>
      exporter.export(spans, (result) => {
        if (result.code === ExportResultCode.FAILED)
          logger.warn({ spans: spans.length, why: result.error?.message }, 'traces.lost');
        done(result);
      }),
    shutdown: () => exporter.shutdown(),
    forceFlush: async () => exporter.forceFlush?.(),
  };
}
