/** Tools for models: a sandbox of the real API over the fake engine, and calls as models make them. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ApiServer } from '../../server/src/api/modbox/testing/api-server.ts';
import { aiTools } from './ai.ts';
import { anthropicTools } from './anthropic.ts';
import type { CodeResult } from './code.ts';
import { Sandbox } from './index.ts';
import { openAiTools } from './openai.ts';
import { sandboxTools } from './tools.ts';

describe('the tools of a sandbox', () => {
  let server: ApiServer;
  let sandbox: Sandbox;
  before(async () => {
    server = await ApiServer.start();
    sandbox = await Sandbox.create({ url: server.url, token: server.token, image: 'base' });
  });
  after(() => server?.[Symbol.asyncDispose]());

  const call = async (name: string, input: unknown, options = {}) => {
    const tool = sandboxTools(sandbox, options).find((each) => each.name === name);
    assert.ok(tool);
    return tool.execute(input);
  };

  test('do what a model asks for', async () => {
    assert.equal((await call('write_file', { path: '/w/a', content: 'täxt' })).isError, false);
    assert.equal((await call('read_file', { path: '/w/a' })).text, 'täxt');
    assert.equal((await call('list_files', { path: '/w' })).text, 'file 5 a');
    const ran = await call('run_command', { command: 'echo out; echo err >&2; exit 3' });
    assert.deepEqual([ran.text, ran.isError], ['out\n\nerr\n\nExit code 3.', true]);
  });

  test('answer what goes wrong, bound what is told, and heed a signal', async () => {
    const missing = await call('read_file', { path: '/none' });
    assert.deepEqual([missing.isError, /Check the/.test(missing.text)], [true, true]);
    for (const input of [undefined, {}, { command: 1 }]) {
      assert.match((await call('run_command', input)).text, /must have a text 'command'/);
    }
    assert.match((await call('run_code', { language: 'cobol', code: '' })).text, /one of python/);
    const long = await call('run_command', { command: 'seq 10000' }, { maxCharacters: 100 });
    assert.ok(long.text.length < 200 && /characters are left out/.test(long.text));
    assert.match(
      (await call('run_command', { command: 'sleep 60' }, { timeoutMs: 50 })).text,
      /killed after/,
    );
    const [tool] = sandboxTools(sandbox, { only: ['run_command'] });
    await assert.rejects(
      async () => tool?.execute({ command: 'sleep 60' }, { signal: AbortSignal.abort(new Error('enough')) }),
      /enough/,
    );
  });

  test('have the shapes of chat completions', async () => {
    const { tools, answer } = openAiTools(sandbox, { only: ['run_command'] });
    assert.deepEqual(
      tools.map((tool) => [tool.type, tool.function.name, tool.function.parameters.required]),
      [['function', 'run_command', ['command']]],
    );
    const asked = (name: string, text: string) => ({ id: 'c1', function: { name, arguments: text } });
    const said = async (name: string, text: string) =>
      (await answer({ tool_calls: [asked(name, text)] })).map((message) => message.content).join();
    assert.equal(await said('run_command', '{"command":"echo hi"}'), 'hi\n\nExit code 0.');
    assert.match(await said('rm_rf', '{}'), /There is no tool rm_rf, only run_command/);
    assert.match(await said('run_command', 'no json'), /must have a text 'command'/);
    assert.deepEqual(await answer({ tool_calls: null }), []);
  });

  test('have the shapes of the Messages API and of the AI SDK, with pictures', async () => {
    const result = { text: 'Figure', png: 'cG5n' };
    const ran = { stdout: 'out', stderr: '', results: [result], error: undefined };
    // Only a picture is asked of it, for which an image would need matplotlib.
    const drawing = { runCode: async () => ran as unknown as CodeResult } as unknown as Sandbox;
    const input = { language: 'python', code: 'plot()' };

    const messages = anthropicTools(drawing, { only: ['run_code'] });
    assert.deepEqual(
      messages.tools.map(({ name, input_schema }) => [name, input_schema.type]),
      [['run_code', 'object']],
    );
    const blocks = [
      { type: 'text', text: 'Let me draw.' },
      { type: 'tool_use', id: 'u1', name: 'run_code', input },
    ];
    assert.deepEqual(await messages.answer({ content: blocks }), [
      {
        type: 'tool_result',
        tool_use_id: 'u1',
        is_error: false,
        content: [
          { type: 'text', text: 'out\nFigure' },
          { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'cG5n' } },
        ],
      },
    ]);

    const tool = aiTools(drawing).run_code;
    const shown = await tool?.execute(input, {});
    const expected = {
      type: 'content',
      value: [
        { type: 'text', text: 'out\nFigure' },
        { type: 'media', mediaType: 'image/png', data: 'cG5n' },
      ],
    };
    assert.deepEqual(tool?.toModelOutput(shown), expected, 'version 5');
    assert.deepEqual(tool?.toModelOutput({ toolCallId: 'a', input, output: shown }), expected, 'version 6');
  });
});
