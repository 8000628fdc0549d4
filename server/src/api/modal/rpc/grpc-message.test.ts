import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeGrpcMessage, reencodeGrpcMessage } from './grpc-message.ts';

test('only what is not printable ASCII, and the percent sign, is encoded', () => {
  assert.equal(encodeGrpcMessage('a/b: "c", d=e?f#g ~'), 'a/b: "c", d=e?f#g ~');
  assert.equal(encodeGrpcMessage('100%\n\tä€😀\u007f'), '100%25%0A%09%C3%A4%E2%82%AC%F0%9F%98%80%7F');
  assert.equal(encodeGrpcMessage('half a pair \ud83d'), 'half a pair %EF%BF%BD');
});

test('a message encoded by Connect is encoded anew', () => {
  const headers = new Headers({ 'grpc-message': encodeURIComponent('/etc: 5%, ü') });
  reencodeGrpcMessage(headers);
  assert.equal(headers.get('grpc-message'), '/etc: 5%25, %C3%BC');
});
