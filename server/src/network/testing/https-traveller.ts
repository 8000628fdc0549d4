/**
 * What a program in a sandbox tries by HTTPS: run in the sandbox's namespace, it makes the attempts of the file that it is given, all at once, and prints as JSON what
 * came of each: status and body, or the code of an error.
 *
 *   node https-traveller.ts FILE
 *   node https-traveller.ts hold FILE    holds an HTTP/2 connection to the host of the only attempt: prints `open`, then `closed`
 */

import { Resolver } from 'node:dns/promises';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { connect as connectTls, type TLSSocket } from 'node:tls';

export type HttpsAttempt = {
  readonly host: string;
  /** Of the host by default. */
  readonly address?: string;
  /** The host by default. */
  readonly servername?: string;
} & (
  | {
      readonly kind: 'h2';
      readonly headers?: Readonly<Record<string, string>>;
      /** Bytes that are sent. */
      readonly body?: number;
    }
  /** The certificate that is shown, base64 of DER. */
  | { readonly kind: 'certificate' }
  /** All that is answered to this text, until the end or until this text. */
  | { readonly kind: 'h1'; readonly say: string; readonly until?: string; readonly body?: number }
);

export interface HttpsPlan {
  /** PEM. */
  readonly trusted: readonly string[];
  readonly attempts: Readonly<Record<string, HttpsAttempt>>;
}

const TIMEOUT_MS = 30_000;
const CHUNK = Buffer.alloc(1 << 16, 'y');
const resolver = new Resolver({ timeout: 10_000, tries: 2 });
resolver.setServers(['169.254.77.1']);

const [first = '', second = ''] = process.argv.slice(2);
const plan = JSON.parse(readFileSync(first === 'hold' ? second : first, 'utf8')) as HttpsPlan; // the test's own

async function dial(attempt: HttpsAttempt, protocol: string): Promise<TLSSocket> {
  const { host, servername = host } = attempt;
  const [found] = attempt.address === undefined ? await resolver.resolve4(host) : [attempt.address];
  const socket = connectTls({
    ...{ host: found ?? '', port: 443, servername, ALPNProtocols: [protocol] },
    ca: [...plan.trusted],
  });
  socket.setTimeout(TIMEOUT_MS, () => socket.destroy(new Error('timeout')));
  await once(socket, 'secureConnect');
  socket.on('error', () => {}); // who reads hears of it
  return socket;
}

async function meet(attempt: HttpsAttempt): Promise<ClientHttp2Session> {
  const socket = await dial(attempt, 'h2');
  return connectHttp2(`https://${attempt.host}`, { createConnection: () => socket }).on('error', () => {});
}

async function write(stream: NodeJS.WritableStream, bytes: number): Promise<void> {
  for (let sent = 0; sent < bytes; sent += CHUNK.length) {
    if (!stream.write(CHUNK)) await once(stream, 'drain');
  }
}

async function make(attempt: HttpsAttempt): Promise<string> {
  if (attempt.kind === 'h2') {
    const session = await meet(attempt);
    const stream = session.request(
      { ':path': '/', ...attempt.headers },
      { endStream: attempt.body === undefined },
    );
    const answered = once(stream, 'response');
    if (attempt.body !== undefined) {
      await write(stream, attempt.body);
      stream.end();
    }
    const [headers] = await answered;
    let text = '';
    let bytes = 0;
    for await (const chunk of stream) {
      bytes += chunk.length;
      if (bytes < 1 << 16) text += chunk;
    }
    session.destroy();
    return `${headers[':status']} ${headers['alt-svc'] ?? ''}${bytes < 1 << 16 ? text : bytes}`;
  }
  const socket = await dial(attempt, 'http/1.1');
  if (attempt.kind === 'certificate') return socket.getPeerX509Certificate()?.raw.toString('base64') ?? '';
  socket.write(attempt.say);
  if (attempt.body !== undefined) await write(socket, attempt.body);
  let text = '';
  let bytes = 0;
  for await (const chunk of socket) {
    bytes += chunk.length;
    if (bytes < 1 << 16) text += chunk;
    if (attempt.until !== undefined && text.includes(attempt.until)) break;
  }
  return bytes < 1 << 16 ? text : String(bytes);
}

if (first === 'hold') {
  const [attempt] = Object.values(plan.attempts);
  if (!attempt) throw new Error('nothing to hold');
  const session = await meet(attempt);
  session.once('close', () => {
    process.stdout.write('closed\n');
    process.exit();
  });
  session
    .request({ ':path': '/' })
    .on('error', () => {})
    .resume()
    .once('response', () => process.stdout.write('open\n'));
} else {
  const results = await Promise.all(
    Object.entries(plan.attempts).map(async ([name, attempt]) => [
      name,
      await make(attempt).catch((error: NodeJS.ErrnoException) => error.code ?? error.message),
    ]),
  );
  process.stdout.write(`${JSON.stringify(Object.fromEntries(results))}\n`);
  process.exit();
}
