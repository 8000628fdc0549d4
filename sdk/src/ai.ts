/**
 * The tools of a sandbox as the AI SDK (`ai`, 5 and later) takes them: `generateText({ tools: aiTools(sandbox), … })`.
 * @module skerry/ai
 */
import type { Sandbox } from './sandbox.ts';
import { type SandboxTool, sandboxTools, type ToolAnswer, type ToolOptions } from './tools.ts';

/** How the AI SDK knows a JSON Schema that its `jsonSchema()` made. Saying it ourselves needs no import of it. */
const marks = { [Symbol.for('vercel.ai.schema')]: true, [Symbol.for('vercel.ai.validator')]: true };

/** A tool as `generateText` and its like take it. */
export interface AiTool {
  readonly description: string;
  // biome-ignore lint/suspicious/noExplicitAny: the AI SDK's own type has symbols that only its package can name.
  readonly inputSchema: any;
  /** Does what the model asks for; never throws for what the model did wrong. */
  execute(input: unknown, options: { readonly abortSignal?: AbortSignal | undefined }): Promise<ToolAnswer>;
  /** The answer as a model reads it, with its pictures. */
  // biome-ignore lint/suspicious/noExplicitAny: what it is given and gives differs between versions of the AI SDK.
  toModelOutput(given: any): any;
}

/** The tools of a sandbox for the AI SDK. Pictures come as pictures. */
export function aiTools(sandbox: Sandbox, options: ToolOptions = {}): Record<string, AiTool> {
  return Object.fromEntries(sandboxTools(sandbox, options).map((tool) => [tool.name, toAiTool(tool)]));
}

const toAiTool = (tool: SandboxTool): AiTool => ({
  description: tool.description,
  // It checks nothing: the tool does.
  inputSchema: { ...marks, _type: undefined, validate: undefined, jsonSchema: tool.inputSchema },
  execute: (input, { abortSignal }) => tool.execute(input, { signal: abortSignal }),
  toModelOutput(given) {
    // Version 5 gives what `execute` gave, version 6 that as `output`.
    const { text, images }: ToolAnswer = given.output ?? given;
    const pictures = images.map(({ mediaType, data }) => ({ type: 'media', mediaType, data }));
    return { type: 'content', value: [{ type: 'text', text }, ...pictures] };
  },
});
