/**
 * The tools of a sandbox as chat completions call functions. Works with any server of that interface.
 * @module skerry/openai
 */
import type { Options } from './process.ts';
import type { Sandbox } from './sandbox.ts';
import { callTool, sandboxTools, type ToolOptions } from './tools.ts';

/** A tool as a request for chat completions names it. */
export interface FunctionTool {
  readonly type: 'function';
  readonly function: {
    readonly name: string;
    readonly description: string;
    readonly parameters: Record<string, unknown>;
  };
}

/** The part of a call in an assistant's message that is used. */
export interface FunctionCall {
  readonly id: string;
  readonly function?: { readonly name: string; readonly arguments: string };
}

/** What a tool answered, as a message. */
export interface ToolMessage {
  role: 'tool';
  tool_call_id: string;
  content: string;
}

/** Tools for the request, and what does as its answer says. */
export interface OpenAiTools {
  /** For the request. */
  readonly tools: FunctionTool[];
  /** Does what a message asks for, one call after the other; its answers are to follow that message. Pictures, which such answers cannot hold, are only mentioned. */
  answer(
    message: { readonly tool_calls?: readonly FunctionCall[] | null | undefined },
    options?: Options,
  ): Promise<ToolMessage[]>;
}

/** The tools of a sandbox for chat completions. */
export function openAiTools(sandbox: Sandbox, options: ToolOptions = {}): OpenAiTools {
  const tools = sandboxTools(sandbox, options);
  return {
    tools: tools.map(({ name, description, inputSchema }) => ({
      type: 'function',
      function: { name, description, parameters: { ...inputSchema } },
    })),
    async answer({ tool_calls: calls }, callOptions = {}) {
      const messages: ToolMessage[] = [];
      for (const { id, function: asked } of calls ?? []) {
        const input = parsed(asked?.arguments);
        const { text, images } = await callTool(tools, asked?.name ?? '', input, callOptions);
        const pictures = images.length === 0 ? '' : `\n[${images.length} picture(s)]`;
        messages.push({ role: 'tool', tool_call_id: id, content: text + pictures });
      }
      return messages;
    },
  };
}

/** What is no JSON has none of the fields that a tool asks for, and is told so. */
function parsed(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? '');
  } catch {
    return {};
  }
}
