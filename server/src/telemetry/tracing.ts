/**
 * Traces: each call of the API is a span, and what of it takes time a span below it. Off unless somebody says where they go; only then `otlp.ts` is loaded, and OpenTelemetry's packages,
 * which nothing else imports.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { FinishedCall } from './calls.ts';
import type { Logger } from './logger.ts';

/** A part of something, which is over. */
export interface Part {
  readonly name: string;
  /** Milliseconds since the epoch, with fractions. */
  readonly startedAtMs: number;
  readonly ms: number;
}

/** A call under way. */
export interface CallSpan {
  /** Tells of a part of it, and of the parts of that: also after the call itself, whose answer may come before what it began is done. */
  tell(part: Part, parts?: readonly Part[]): void;
  end(call: FinishedCall): void;
}

export interface Tracing {
  /** @param header of the call, where its client may say of which trace it is a part (https://www.w3.org/TR/trace-context/) */
  begin(header: (name: string) => string | undefined): CallSpan;
  /** Sends what is left, if it can. Never rejects. */
  close(): Promise<void>;
}

export interface TracingOptions {
  /** Where an OpenTelemetry collector takes OTLP over HTTP; '' leaves that to OpenTelemetry's own variables, without which there are no traces. */
  readonly endpoint: string;
  readonly env: NodeJS.ProcessEnv;
  readonly version: string;
  readonly logger: Logger;
}

/** @returns undefined where nobody wants traces */
export async function openTracing(options: TracingOptions): Promise<Tracing | undefined> {
  const { endpoint, env } = options;
  const named = env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT || env.OTEL_EXPORTER_OTLP_ENDPOINT;
  if (env.OTEL_SDK_DISABLED?.toLowerCase() === 'true' || env.OTEL_TRACES_EXPORTER === 'none')
    return undefined;
  if (endpoint === '' && !named) return undefined;
  const { OtlpTracing } = await import('./otlp.ts');
  return new OtlpTracing(options);
}

/** A header of an HTTP request that is there once. */
export function headerOf(
  { headers }: { readonly headers: Readonly<Record<string, string | string[] | undefined>> },
  name: string,
): string | undefined {
  const value = headers[name];
  return typeof value === 'string' ? value : undefined;
}

const current = new AsyncLocalStorage<CallSpan>();

/** The call for which this is done; undefined where there are no traces. */
export const currentCall = (): CallSpan | undefined => current.getStore();

/** Does `run` for a call. */
export const within = <T>(call: CallSpan | undefined, run: () => T): T =>
  call ? current.run(call, run) : run();

/** Does `run` for no call: what waits its turn goes on where another has ended. */
export const outsideCalls = <T>(run: () => T): T => current.exit(run);

/** Does `work`, which is a part of the call. */
export async function timed<T>(name: string, work: () => Promise<T>): Promise<T> {
  const call = current.getStore();
  if (!call) return work();
  const startedAt = performance.now();
  try {
    return await work();
  } finally {
    call.tell({
      name,
      startedAtMs: performance.timeOrigin + startedAt,
      ms: performance.now() - startedAt,
    });
  }
}
