/** Calls of the command to a server: the same RPCs the clients use, as JSON over HTTP/1.1 (the Connect protocol). */
import * as z from 'zod/mini';
import type { FetchAnswer } from '../../sdk/src/index.ts';
import { CliError } from './cli-error.ts';
import { noAnswer } from './operator.ts';
import type { ServerAccess } from './sandboxes/connection.ts';

const CALL_TIMEOUT_MS = 30_000;

const errorSchema = z.object({ code: z.string(), message: z._default(z.string(), '') });

/** Makes one unary call of `modal.client.ModalClient`. `onHeaders` gets the answer's headers. @throws CliError with the server's own words */
export async function callControlPlane<Answer>(
  { url, token, fetch = globalThis.fetch }: ServerAccess,
  rpc: string,
  request: Readonly<Record<string, unknown>>,
  answer: z.core.$ZodType<Answer>,
  onHeaders?: (headers: FetchAnswer['headers']) => void,
): Promise<Answer> {
  const [tokenId = '', tokenSecret = ''] = token.split(':');
  let response: FetchAnswer;
  try {
    response = await fetch(`${url}/modal.client.ModalClient/${rpc}`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        'connect-protocol-version': '1',
        'x-modal-token-id': tokenId,
        'x-modal-token-secret': tokenSecret,
      },
      body: JSON.stringify(request),
      signal: AbortSignal.timeout(CALL_TIMEOUT_MS),
    });
  } catch (error) {
    throw noAnswer(url, error);
  }
  const body: unknown = await response.json().catch(() => undefined);
  if (!response.ok) {
    const { code, message } = z.parse(
      z.catch(errorSchema, { code: String(response.status), message: '' }),
      body,
    );
    throw new CliError(`${rpc} failed (${code}): ${message}`);
  }
  onHeaders?.(response.headers);
  return z.parse(answer, body);
}
