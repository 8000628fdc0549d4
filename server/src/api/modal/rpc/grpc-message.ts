/**
 * The `grpc-message` trailer. The gRPC specification ("Responses" in https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md) encodes bytes
 * outside of the printable ASCII characters, and `%`. Connect encodes every reserved character of a URL as well, which the JavaScript client does not undo: it
 * would show `%2F` for each slash.
 */
const GRPC_MESSAGE = 'grpc-message';

/** Percent-encodes the UTF-8 of a message as the specification says; a lone surrogate becomes U+FFFD. */
export function encodeGrpcMessage(message: string): string {
  if (/^[ -$&-~]*$/.test(message)) return message;
  let encoded = '';
  for (const byte of Buffer.from(message)) {
    encoded +=
      byte < 0x20 || byte > 0x7e || byte === 0x25
        ? `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
        : String.fromCharCode(byte);
  }
  return encoded;
}

/** Encodes a message anew that Connect has encoded. */
export function reencodeGrpcMessage(headers: Headers): void {
  const encoded = headers.get(GRPC_MESSAGE);
  if (encoded) headers.set(GRPC_MESSAGE, encodeGrpcMessage(decodeURIComponent(encoded)));
}
