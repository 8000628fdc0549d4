/**
 * A layer of ours as the archive that others know: GNU tar reads the directory, and what overlayfs means by devices and attributes is written here as the whiteouts of
 * https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts. All else passes as it is, extended attributes too. Equal layers give equal bytes.
 *
 * Headers: https://www.gnu.org/software/tar/manual/html_node/Standard.html, and pax(1) of POSIX for the records that precede them.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { SkerryError } from '../../errors/skerry-error.ts';
import { baseEnvironment } from '../../platform/command.ts';
import { type PaxRecord, paxRecords } from '../layers/pax-records.ts';

const BLOCK = 512;
/** Of the extended attributes of one file; the kernel has no more than 64 KiB of each kind. */
const MAX_PAX = 1 << 20;
const WHITEOUT = '.wh.';
const OPAQUE = '.wh..wh..opq';
const TAR = [
  '-c',
  '--format=posix',
  // Else the names of these have the process's id in them, and times that each look changes.
  '--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime',
  '--numeric-owner',
  '--sort=name',
  '--xattrs',
  '--xattrs-include=*',
  '-f',
  '-',
] as const;

/**
 * @throws SkerryError `invalid-argument` when a file is called as only whiteouts may be, `internal` in tar's own words; the signal's reason
 */
export async function* layerTar(directory: string, signal: AbortSignal): AsyncGenerator<Buffer> {
  const tar = spawn('tar', [...TAR, '-C', directory, '.'], {
    env: baseEnvironment(),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = once(tar, 'close');
  ended.catch(() => {}); // awaited below
  let words = '';
  tar.stderr.on('data', (chunk: Buffer) => {
    words = `${words}${chunk}`.slice(0, 2000);
  });
  try {
    for await (const piece of whiteoutsOf(tar.stdout)) {
      signal.throwIfAborted();
      yield piece;
    }
    const [code] = await ended;
    if (code !== 0) throw new SkerryError('internal', `tar ended with ${code}: ${words}`);
  } finally {
    tar.kill('SIGKILL');
    await ended;
  }
}

/** Translates the archive of an overlay's directory while it passes. */
export async function* whiteoutsOf(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const bytes = new Pieces(source);
  let extended: { readonly header: Buffer; readonly records: PaxRecords } | undefined;
  for (;;) {
    const header = await bytes.exactly(BLOCK);
    if (header.every((byte) => byte === 0)) {
      yield header;
      return yield* bytes.rest();
    }
    const type = String.fromCharCode(header[156] ?? 0);
    if (type === 'x') {
      const size = octal(header, 124, 12);
      if (size > MAX_PAX) throw new SkerryError('internal', 'A file has too many extended attributes.');
      extended = { header, records: new PaxRecords((await bytes.exactly(padded(size))).subarray(0, size)) };
      continue;
    }
    const records = extended?.records ?? new PaxRecords(Buffer.alloc(0));
    const path = records.get('path') ?? nameOf(header);
    const [parent, name] = split(path);
    if (name.startsWith(WHITEOUT)) {
      const said = JSON.stringify(Buffer.from(path, 'latin1').toString('utf8'));
      throw new SkerryError(
        'invalid-argument',
        `The file ${said} cannot be in an image that others read: they take it for the mark of a removed file.`,
      );
    }
    const size = Number(records.get('size') ?? octal(header, 124, 12));
    if (type === '3' && octal(header, 329, 8) === 0 && octal(header, 337, 8) === 0) {
      yield* marker(`${parent}${WHITEOUT}${name}`, header);
    } else {
      const kept = records.without((key) => key.startsWith('SCHILY.xattr.trusted.overlay.'));
      if (extended && kept.length > 0) yield* paxHeader(extended.header, kept);
      yield header;
      yield* bytes.through(padded(size));
      if (records.get('SCHILY.xattr.trusted.overlay.opaque') === 'y')
        yield* marker(`${path}${OPAQUE}`, header);
    }
    extended = undefined;
  }
}

/** An empty file that says something about others, as old as the file that `like` is the header of. */
function* marker(path: string, like: Buffer): Generator<Buffer> {
  const header = Buffer.from(like);
  header.fill(0, 0, 100);
  header.fill(0, 345, 500);
  header.write('0', 156);
  header.write('0000644\0', 100, 'latin1');
  header.write('00000000000\0', 124, 'latin1');
  header.fill(0, 157, 257);
  header.fill(0, 329, 345);
  if (path.length > 100) yield* paxHeader(like, record('path', Buffer.from(path, 'latin1')));
  header.write(path.slice(0, 100), 0, 'latin1');
  yield sealed(header);
}

function* paxHeader(like: Buffer, records: Buffer): Generator<Buffer> {
  const header = Buffer.from(like);
  header.fill(0, 157, 257);
  header.write('x', 156);
  header.write(`${records.length.toString(8).padStart(11, '0')}\0`, 124, 'latin1');
  yield sealed(header);
  yield records;
  yield Buffer.alloc(padded(records.length) - records.length);
}

/** The header with the sum of its bytes in place. */
function sealed(header: Buffer): Buffer {
  header.fill(' ', 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return header;
}

class PaxRecords {
  readonly #records: readonly PaxRecord[];

  constructor(data: Buffer) {
    const records = paxRecords(data);
    if (!records) throw damaged();
    this.#records = records;
  }

  get(key: string): string | undefined {
    return this.#records.findLast((each) => each.key === key)?.value;
  }

  without(drop: (key: string) => boolean): Buffer {
    return Buffer.concat(this.#records.filter(({ key }) => !drop(key)).map(({ whole }) => whole));
  }
}

function record(key: string, value: Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from('\n')]);
  // The length counts its own digits.
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length++;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

/** A stream in pieces of other sizes. */
class Pieces {
  readonly #source: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Buffer>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  /** A copy of the next bytes. */
  async exactly(length: number): Promise<Buffer> {
    const pieces: Buffer[] = [];
    for await (const piece of this.through(length)) pieces.push(piece);
    return Buffer.concat(pieces);
  }

  async *through(length: number): AsyncGenerator<Buffer> {
    for (let left = length; left > 0; ) {
      if (this.#rest.length === 0) {
        const { value, done } = await this.#source.next();
        if (done) throw damaged();
        this.#rest = value;
      }
      const piece = this.#rest.subarray(0, left);
      this.#rest = this.#rest.subarray(piece.length);
      left -= piece.length;
      yield piece;
    }
  }

  async *rest(): AsyncGenerator<Buffer> {
    if (this.#rest.length > 0) yield this.#rest;
    for (;;) {
      const { value, done } = await this.#source.next();
      if (done) return;
      yield value;
    }
  }
}

const padded = (size: number): number => Math.ceil(size / BLOCK) * BLOCK;
const octal = (header: Buffer, at: number, length: number): number =>
  Number.parseInt(header.toString('latin1', at, at + length), 8) || 0;
const text = (header: Buffer, at: number, length: number): string =>
  header.toString('latin1', at, at + length).replace(/\0.*$/s, '');

function nameOf(header: Buffer): string {
  const prefix = text(header, 345, 155);
  return `${prefix === '' ? '' : `${prefix}/`}${text(header, 0, 100)}`;
}

/** Directories end with a slash; that of the parent stays. */
function split(path: string): [parent: string, name: string] {
  const cut = path.replace(/\/$/, '').lastIndexOf('/') + 1;
  return [path.slice(0, cut), path.slice(cut)];
}

const damaged = () => new SkerryError('internal', 'tar wrote an archive that is none.');
