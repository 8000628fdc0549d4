/** A collector of this process: takes OTLP over HTTP as protobuf and reads the spans in it, by the numbers of https://github.com/open-telemetry/opentelemetry-proto (trace.proto). */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';

export interface ReceivedSpan {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  /** Empty for the first of a trace. */
  readonly parentId: string;
  readonly startedAtNs: bigint;
  readonly endedAtNs: bigint;
  readonly attributes: Readonly<Record<string, string>>;
}

export interface OtlpReceiver {
  /** As `--otlp-endpoint` wants it. */
  readonly url: string;
  readonly spans: readonly ReceivedSpan[];
  /** Attributes of who sent the last ones. */
  readonly resource: Readonly<Record<string, string>>;
  /** Every byte that came. */
  readonly bytes: Buffer;
  /** The first span that `is` what is looked for, once it came. */
  find(is: (span: ReceivedSpan) => boolean, signal: AbortSignal): Promise<ReceivedSpan>;
  close(): void;
}

/** @param status what it answers */
export async function otlpReceiver(status = 200): Promise<OtlpReceiver> {
  const spans: ReceivedSpan[] = [];
  const bodies: Buffer[] = [];
  let resource = {};
  const came = new EventTarget();
  const server = createServer(async (request, response) => {
    const body = Buffer.concat(await request.toArray());
    bodies.push(body);
    if (request.url === '/v1/traces' && request.headers['content-type'] === 'application/x-protobuf') {
      for (const inResource of fieldsOf(body).messages(1)) {
        resource = attributesOf(fieldsOf(inResource).messages(1).map(fieldsOf)[0]?.messages(1) ?? []);
        for (const inScope of fieldsOf(inResource).messages(2))
          spans.push(...fieldsOf(inScope).messages(2).map(spanOf));
      }
    }
    response.writeHead(status).end();
    came.dispatchEvent(new Event('spans'));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // TCP, so it has one
  return {
    url: `http://127.0.0.1:${port}`,
    spans,
    get resource() {
      return resource;
    },
    get bytes() {
      return Buffer.concat(bodies);
    },
    async find(is, signal) {
      for (;;) {
        const found = spans.find(is);
        if (found) return found;
        await once(came, 'spans', { signal });
      }
    },
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

function spanOf(bytes: Uint8Array): ReceivedSpan {
  const fields = fieldsOf(bytes);
  const hex = (field: number) => Buffer.from(fields.messages(field)[0] ?? []).toString('hex');
  return {
    ...{ traceId: hex(1), spanId: hex(2), parentId: hex(4) },
    name: textOf(fields.messages(5)[0]),
    startedAtNs: fields.numbers(7)[0] ?? 0n,
    endedAtNs: fields.numbers(8)[0] ?? 0n,
    attributes: attributesOf(fields.messages(9)),
  };
}

/** Of strings and numbers; others are left out. */
function attributesOf(all: readonly Uint8Array[]): Record<string, string> {
  const pairs = all.map(fieldsOf).flatMap((pair) => {
    const value = fieldsOf(pair.messages(2)[0] ?? new Uint8Array());
    const text = value.messages(1)[0];
    const number = value.numbers(3)[0];
    if (text === undefined && number === undefined) return [];
    return [[textOf(pair.messages(1)[0]), text === undefined ? String(number) : textOf(text)]];
  });
  return Object.fromEntries(pairs);
}

const textOf = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString();

/** What a message of protobuf has, by the numbers of its fields. */
function fieldsOf(bytes: Uint8Array) {
  const reader = new BinaryReader(bytes);
  const found: { readonly field: number; readonly value: Uint8Array | bigint }[] = [];
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (wireType === WireType.LengthDelimited) found.push({ field, value: reader.bytes() });
    else if (wireType === WireType.Bit64) found.push({ field, value: BigInt(reader.fixed64()) });
    else if (wireType === WireType.Varint) found.push({ field, value: BigInt(reader.int64()) });
    else reader.skip(wireType);
  }
  const values = (field: number) => found.filter((each) => each.field === field).map(({ value }) => value);
  return {
    messages: (field: number) => values(field).filter((value) => typeof value !== 'bigint'),
    numbers: (field: number) => values(field).filter((value) => typeof value === 'bigint'),
  };
}
