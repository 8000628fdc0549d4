/**
 * What a program in a sandbox tries: run in the sandbox's namespace, it makes the attempts it is given, all at once, and prints as JSON what came of each.
 * What fails in any way is `closed`.
 *
 *   node traveller.ts ATTEMPTS      an object of attempts by their names
 *   node traveller.ts crowd ADDRESS COUNT   holds so many connections that say nothing to the port of TLS, prints `crowd` when all are made, and makes another
 *                                            one for each that ends
 *   node traveller.ts hold HOST     holds a TLS connection to a host: prints `open`, then `again` for each line it is sent and gets back, then `closed`
 */
import { createSocket } from 'node:dgram';
import { Resolver } from 'node:dns/promises';
import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { Duplex } from 'node:stream';
import { connect as connectTls, type TLSSocket } from 'node:tls';

export type Attempt =
  /** The first line of a TLS server. Without an address that of the host; without a server name none is sent. */
  | { readonly kind: 'tls'; readonly host?: string; readonly address?: string; readonly servername?: string }
  /** The hello of such a connection, with the extension of encrypted ones. */
  | { readonly kind: 'ech'; readonly host: string }
  /** All that is answered to this text. */
  | {
      readonly kind: 'tcp';
      readonly host?: string;
      readonly address?: string;
      readonly port: number;
      readonly say: string;
    }
  | { readonly kind: 'udp'; readonly address: string; readonly port: number }
  /** The addresses of a name, asked over TCP. */
  | { readonly kind: 'long-question'; readonly name: string }
  /** Records of a name. */
  | { readonly kind: 'dns'; readonly name: string; readonly type: string; readonly server?: string };

const TIMEOUT_MS = 20_000;
const RESOLVER = '169.254.77.1';

function resolverAt(server: string): Resolver {
  const resolver = new Resolver({ timeout: TIMEOUT_MS / 4, tries: 2 });
  resolver.setServers([server]);
  return resolver;
}

async function addressOf(host: string | undefined, address: string | undefined): Promise<string> {
  if (address !== undefined) return address;
  const [first] = await resolverAt(RESOLVER).resolve4(host ?? '');
  return first ?? '';
}

function dialTls(host: string, servername: string | undefined): TLSSocket {
  return connectTls({ host, port: 443, rejectUnauthorized: false, ...(servername && { servername }) });
}

/** What comes until the end, or until a whole line where one is enough. */
function read(socket: Socket, isEnough: (text: string) => boolean): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    const timer = setTimeout(() => socket.destroy(new Error('timeout')), TIMEOUT_MS);
    const finish = () => {
      clearTimeout(timer);
      socket.destroy();
      if (text === '') reject(new Error('nothing came'));
      else resolve(text.trim());
    };
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      if (isEnough(text)) finish();
    });
    socket.once('error', reject).once('end', finish).once('close', finish);
  });
}

const isLine = (text: string): boolean => text.includes('\n');

/** The hello that a client begins with, which never gets an answer. */
async function helloOf(host: string): Promise<Buffer> {
  const { promise, resolve } = Promise.withResolvers<Buffer>();
  const wire = new Duplex({ read: () => {}, write: (chunk) => resolve(chunk) });
  const socket = connectTls({ socket: wire, servername: host });
  socket.on('error', () => {});
  return promise;
}

/** With one more extension: the lengths of the record, of the message and of the extensions grow by it. */
function withEncryptedHello(hello: Buffer): Buffer {
  const extension = Buffer.from([0xfe, 0x0d, 0, 4, 0, 0, 1, 0]);
  const grown = Buffer.concat([hello, extension]);
  grown.writeUInt16BE(grown.readUInt16BE(3) + extension.length, 3);
  grown.writeUIntBE(grown.readUIntBE(6, 3) + extension.length, 6, 3);
  let at = 5 + 4 + 2 + 32;
  at += 1 + grown.readUInt8(at); // session
  at += 2 + grown.readUInt16BE(at); // ciphers
  at += 1 + grown.readUInt8(at); // compression
  grown.writeUInt16BE(grown.readUInt16BE(at) + extension.length, at);
  return grown;
}

async function make(attempt: Attempt): Promise<string> {
  switch (attempt.kind) {
    case 'tls': {
      const { host, servername = host } = attempt;
      return read(dialTls(await addressOf(host, attempt.address), servername), isLine);
    }
    case 'ech': {
      const socket = connectTcp(443, await addressOf(attempt.host, undefined));
      socket.write(withEncryptedHello(await helloOf(attempt.host)));
      const answer = await read(socket, (text) => text.length >= 7);
      return answer.startsWith('\x16') ? 'the server answered' : 'refused';
    }
    case 'tcp': {
      const socket = connectTcp(attempt.port, await addressOf(attempt.host, attempt.address));
      socket.write(attempt.say);
      return read(socket, attempt.port === 80 ? () => false : isLine);
    }
    case 'udp': {
      const socket = createSocket('udp4');
      socket.connect(attempt.port, attempt.address);
      await once(socket, 'connect');
      socket.send('x');
      const [message] = await once(socket, 'message', { signal: AbortSignal.timeout(TIMEOUT_MS) });
      socket.close();
      return String(message);
    }
    case 'long-question': {
      const labels = attempt.name.split('.').map((label) => `${String.fromCharCode(label.length)}${label}`);
      const question = `\0\x07\x01\0\0\x01\0\0\0\0\0\0${labels.join('')}\0\0\x01\0\x01`;
      const socket = connectTcp(53, RESOLVER);
      socket.write(Buffer.from(`\0${String.fromCharCode(question.length)}${question}`, 'latin1'));
      const [answer] = await once(socket, 'data', { signal: AbortSignal.timeout(TIMEOUT_MS) });
      if (answer.readUInt16BE(2 + 6) !== 1) throw new Error('no address');
      return [...answer.subarray(-4)].join('.');
    }
    case 'dns': {
      const resolver = resolverAt(attempt.server ?? RESOLVER);
      return JSON.stringify(await resolver.resolve(attempt.name, attempt.type));
    }
    default:
      return attempt satisfies never;
  }
}

async function hold(host: string): Promise<void> {
  const socket = dialTls(await addressOf(host, undefined), host);
  const say = (what: string) => process.stdout.write(`${what}\n`);
  socket
    .on('error', () => {})
    .once('close', () => {
      say('closed');
      process.exit();
    });
  socket.once('data', () => {
    say('open');
    socket.on('data', () => say('again'));
  });
  createInterface({ input: process.stdin }).on('line', (line) => socket.write(`${line}\n`));
}

function crowd(address: string, count: number): void {
  let made = 0;
  const another = () => {
    const socket = connectTcp(443, address, () => {
      if (++made === count) process.stdout.write('crowd\n');
    });
    socket
      .on('error', () => {})
      .on('data', () => {})
      .once('close', another);
  };
  for (let i = 0; i < count; i++) another();
}

const [first = '', host = '', count = ''] = process.argv.slice(2);
if (first === 'hold') {
  await hold(host);
} else if (first === 'crowd') {
  crowd(host, Number(count));
} else {
  const attempts = Object.entries(JSON.parse(first) as Record<string, Attempt>); // the test's own
  const results = await Promise.all(
    attempts.map(async ([name, attempt]) => [name, await make(attempt).catch(() => 'closed')]),
  );
  process.stdout.write(`${JSON.stringify(Object.fromEntries(results))}\n`);
  process.exit();
}
