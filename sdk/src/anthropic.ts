/**
 * The tools of a sandbox as the Messages API uses them.
 * @module skerry/anthropic
 */
import type { Options } from './process.ts';
import type { Sandbox } from './sandbox.ts';
import { callTool, sandboxTools, type ToolOptions } from './tools.ts';

/** A tool as a request of the Messages API names it. */
export interface MessagesTool {
  name: string;
  description: string;
  input_schema: { type: 'object'; [key: string]: unknown };
}

/** The part of a block of an assistant's message that is used: those of type `tool_use`. */
export interface ContentBlock {
  readonly type: string;
  readonly id?: string;
  readonly name?: string;
  readonly input?: unknown;
}

/** What a tool answered, as a part of the user's next message. */
export interface ToolResultBlock {
  type: 'tool_result';
  tool_use_id: string;
  is_error: boolean;
  content: (
    | { type: 'text'; text: string }
    | { type: 'image'; source: { type: 'base64'; media_type: 'image/png'; data: string } }
  )[];
}

/** Tools for the request, and what does as its answer says. */
export interface AnthropicTools {
  /** For the request. */
  readonly tools: MessagesTool[];
  /** Does what a message asks for, one call after the other; its answers are the content of the user's next message. Pictures are in them. */
  answer(
    message: { readonly content: readonly ContentBlock[] },
    options?: Options,
  ): Promise<ToolResultBlock[]>;
}

/** The tools of a sandbox for the Messages API. */
export function anthropicTools(sandbox: Sandbox, options: ToolOptions = {}): AnthropicTools {
  const tools = sandboxTools(sandbox, options);
  return {
    tools: tools.map(({ name, description, inputSchema }) => ({
      name,
      description,
      input_schema: { ...inputSchema, type: 'object' },
    })),
    async answer({ content }, callOptions = {}) {
      const blocks: ToolResultBlock[] = [];
      for (const { type, id = '', name = '', input } of content) {
        if (type !== 'tool_use') continue;
        const { text, images, isError } = await callTool(tools, name, input, callOptions);
        const pictures = images.map(({ mediaType, data }) => ({
          type: 'image' as const,
          source: { type: 'base64' as const, media_type: mediaType, data },
        }));
        const said = { type: 'text' as const, text };
        blocks.push({
          type: 'tool_result',
          tool_use_id: id,
          is_error: isError,
          content: [said, ...pictures],
        });
      }
      return blocks;
    },
  };
}
