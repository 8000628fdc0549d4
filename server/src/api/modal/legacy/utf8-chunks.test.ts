import assert from 'node:assert/strict';
import { test } from 'node:test';
import { wholeCharacters } from './utf8-chunks.ts';

async function collect(chunks: readonly (Uint8Array | readonly number[])[]): Promise<Buffer[]> {
  async function* source() {
    for (const chunk of chunks) yield Buffer.from(chunk);
  }
  const result: Buffer[] = [];
  for await (const chunk of wholeCharacters(source())) result.push(Buffer.from(chunk));
  return result;
}

test('every way to cut a text gives messages that decode by themselves', async () => {
  const text = Buffer.from('aé日𝄞z');
  for (let cut = 1; cut < text.length; cut++) {
    const parts = await collect([text.subarray(0, cut), text.subarray(cut)]);
    assert.deepEqual(Buffer.concat(parts), text);
    for (const part of parts) {
      assert.ok(part.length > 0);
      new TextDecoder('utf-8', { fatal: true }).decode(part);
    }
  }
});

test('bytes that are no text pass unchanged, and so does a torn end', async () => {
  const binary = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
  for (let cut = 0; cut <= 256; cut++) {
    const parts = await collect(
      [binary.subarray(0, cut), binary.subarray(cut)].filter(({ length }) => length > 0),
    );
    assert.deepEqual(Buffer.concat(parts), binary);
  }
  assert.deepEqual(Buffer.concat(await collect([[0x61, 0xf0, 0x9d]])), Buffer.from([0x61, 0xf0, 0x9d]));
  assert.deepEqual(Buffer.concat(await collect([[0x80, 0x80, 0x80, 0x80, 0x80]])).length, 5);
});
