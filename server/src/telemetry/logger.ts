/**
 * The logger: one structured event per operation, JSON on standard error. Values that may be secret are redacted by
 * key, control characters are escaped by JSON itself.
 */
import { pino, stdSerializers } from 'pino';
import { describeError } from '../errors/first-error.ts';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent';

export interface Logger {
  debug(fields: object, event: string): void;
  info(fields: object, event: string): void;
  warn(fields: object, event: string): void;
  error(fields: object, event: string): void;
  child(fields: object): Logger;
}

/** Keys whose values never reach a log, at the top level and one and two levels below. */
const secretKeys = [
  'env',
  'secret',
  'secrets',
  'token',
  'tokenSecret',
  'authorization',
  'jwt',
  'password',
  'apiKey',
  'contents',
];

export function createLogger(level: LogLevel, destination?: { write(line: string): void }): Logger {
  const options = {
    level,
    base: null,
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }) },
    serializers: { err: serializeError },
    redact: { paths: secretKeys.flatMap((key) => [key, `*.${key}`, `*.*.${key}`]), censor: '[redacted]' },
  };
  return pino(options, destination ?? standardError());
}

/** Lines that wait while none can be written, bytes. */
const MAX_WAITING = 1 << 20;

/** Standard error is often a file beside what sandboxes fill: a line that finds no room waits for the next one that does, and whoever logged goes on. */
function standardError(): { write(line: string): void } {
  const stream = pino.destination({ fd: 2, sync: true, maxLength: MAX_WAITING });
  return {
    write: (line) => {
      try {
        stream.write(line);
      } catch {
        // it waits in the stream
      }
    },
  };
}

/** Pino's own form, with the whole story as its stack: errors within the error, which pino leaves out or shows without their causes. */
function serializeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  return { ...stdSerializers.err(error), aggregateErrors: undefined, stack: describeError(error) };
}
