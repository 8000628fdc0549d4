/** Answers that come in pieces, and their text line by line. */
import type { FetchAnswer } from './http.ts';

/** The lines of it, without their ends; a last one need not have one. */
export async function* linesOf(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<string, void> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const bytes of pieces) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) yield line.replace(/\r$/, '');
  }
  rest += decoder.decode();
  if (rest !== '') yield rest;
}

/** The lines of an answer; leaving the loop early closes the connection. */
export function readLines(response: FetchAnswer): AsyncGenerator<string, void> {
  return linesOf(readPieces(response));
}

/** What an answer brings, as it comes; leaving the loop early closes the connection. */
export async function* readPieces(response: FetchAnswer): AsyncGenerator<Uint8Array<ArrayBuffer>, void> {
  const reader = response.body?.getReader();
  if (!reader) return;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => {}); // it may have broken
  }
}
