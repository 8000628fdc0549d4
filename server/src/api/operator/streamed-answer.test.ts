import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, it } from 'node:test';
import { StreamedAnswer } from './streamed-answer.ts';

type Work = Parameters<typeof StreamedAnswer.progress>[0];

describe('an answer of progress', () => {
  it('has the result as its last line, also when it is there before the first line was taken', async () => {
    assert.equal(await answerOf(async () => 1), '{"done":1}\n');
    const said = '{"say":"one"}\n{"say":"two"}\n{"done":1}\n';
    const work: Work = async (say) => {
      say('one');
      say('two');
      return 1;
    };
    assert.equal(await answerOf(work), said);
    const later: Work = async (say) => {
      say('one');
      await new Promise(setImmediate);
      return work(() => say('two'));
    };
    assert.equal(await answerOf(later), said.replace('"two"}\n', '"two"}\n{"say":"two"}\n'));
  });

  it('has what went wrong as its last line', async () => {
    const work: Work = async (say) => {
      say('one');
      throw new Error('no');
    };
    assert.equal(await answerOf(work), '{"say":"one"}\n{"error":{"words":"Error: no"}}\n');
  });
});

async function answerOf(work: Work): Promise<string> {
  const server = createServer((_request, response) =>
    StreamedAnswer.progress(work, (thrown) => ({ words: String(thrown) })).send(response),
  ).listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const { port } = server.address() as AddressInfo; // it listens on a port
    return await (await fetch(`http://127.0.0.1:${port}/`)).text();
  } finally {
    server.close();
  }
}
