/** The one place where errors become gRPC statuses. What a user may read stays, what only we can use goes to the log under a code. */
import { randomInt } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import { describeError, firstError } from '../../../errors/first-error.ts';
import { SkerryError, toSkerryError } from '../../../errors/skerry-error.ts';
import type { Logger } from '../../../telemetry/logger.ts';
import { RPCRetryPolicySchema } from '../gen/modal/common_pb.ts';

/** Letters and digits that are not taken for one another; the clients look for eight of `[A-Z0-9]` after `Error code: `. */
const CODE_ALPHABET = 'ABCDEFGHJKLMNPQRSTUVWXYZ23456789';

/** gRPC limits the header block; a long build error must not take the status with it. */
const MAX_MESSAGE = 4096;

/**
 * @param rpc name of the RPC, for the log and for the one RPC whose clients retry without end
 * @param signal the call's signal: once it is aborted, failures are the caller's leaving
 */
export function toConnectError(
  thrown: unknown,
  rpc: string,
  signal: AbortSignal,
  logger: Logger,
): ConnectError {
  const error = firstError(thrown);
  if (error instanceof ConnectError) return error;
  if (
    signal.aborted &&
    (error === signal.reason || (error instanceof Error && error.name === 'AbortError'))
  ) {
    return signal.reason instanceof ConnectError
      ? signal.reason
      : new ConnectError('The call was cancelled.', Code.Canceled);
  }
  if (isLostConnection(error)) return new ConnectError('The connection was lost.', Code.Canceled);
  const skerry = toSkerryError(error);
  if (skerry.code !== 'internal') {
    // The registry uses the numbers of gRPC, and so does Connect.
    return new ConnectError(wording(skerry), skerry.kind.grpc as Code, undefined, retryDetails(skerry));
  }
  const errorCode = Array.from({ length: 8 }, () => CODE_ALPHABET[randomInt(CODE_ALPHABET.length)]).join('');
  logger.error(
    { rpc, errorCode, error: describeError(thrown), details: skerry.details },
    'rpc failed inside skerry',
  );
  // Words that were meant for people are shown; those of an unforeseen exception are not.
  const words = error instanceof SkerryError ? error.message : 'Something failed inside Skerry.';
  const message = `${clip(words)} The server log has the details. Error code: ${errorCode}`;
  // Clients repeat TaskExecWait for ever on INTERNAL; a bug there must end the wait (docs/protocol/errors.md, section 4).
  return new ConnectError(message, rpc === 'TaskExecWait' ? Code.DataLoss : Code.Internal);
}

/** How long to wait, where that is known: clients do so by themselves then (docs/protocol/errors.md, section 1). */
function retryDetails({ details: { retryAfterMs } }: SkerryError) {
  if (typeof retryAfterMs !== 'number') return [];
  return [
    {
      desc: RPCRetryPolicySchema,
      value: create(RPCRetryPolicySchema, { retryAfterSecs: retryAfterMs / 1000 }),
    },
  ];
}

/** What Node throws for a write after the client went, before the call's signal tells. */
function isLostConnection(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | null)?.code;
  return code === 'ERR_HTTP2_INVALID_STREAM' || code === 'ERR_STREAM_DESTROYED';
}

/** Message and next step. Credentials errors bring their own. */
function wording(error: SkerryError): string {
  const message = clip(error.message);
  const { suggestion } = error.kind;
  if (error.code === 'unauthenticated' || message.includes(suggestion)) return message;
  return `${message}${/[.!?:)]$/.test(message) ? '' : '.'} ${suggestion}`;
}

/** Cutting, here and where names are repeated in a message, can leave half of a surrogate pair, which no encoder takes. */
const clip = (text: string): string =>
  (text.length <= MAX_MESSAGE
    ? text
    : `${text.slice(0, MAX_MESSAGE / 2)} … ${text.slice(-MAX_MESSAGE / 2)}`
  ).toWellFormed();
