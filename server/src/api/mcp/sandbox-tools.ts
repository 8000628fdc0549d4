/**
 * Sandboxes as tools of an agent, by the Model Context Protocol (https://modelcontextprotocol.io/specification). A conversation has a sandbox of its own, made at
 * the first use and ended with the conversation; what it may use and reach is the operator's to say, not the model's.
 */
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import type { CallToolResult } from '@modelcontextprotocol/sdk/types.js';
import { z } from 'zod';
import {
  type CodeResult,
  type CreateOptions,
  type ExecResult,
  Sandbox,
  SkerryError,
} from '../../../../sdk/src/index.ts';

/** Of one text that a model is given; it is told what is left out. */
const MAX_TEXT = 50_000;
const MAX_FILE_BYTES = 1 << 20;
const DEFAULT_TIMEOUT_SECONDS = 60;
const MAX_TIMEOUT_SECONDS = 600;
const MAX_SANDBOXES = 10;

const sandboxId = z
  .string()
  .optional()
  .describe(
    "One that create_sandbox or fork made. Default: the conversation's own, which is made when it is needed.",
  );
const timeoutSeconds = z
  .number()
  .int()
  .min(1)
  .max(MAX_TIMEOUT_SECONDS)
  .default(DEFAULT_TIMEOUT_SECONDS)
  .describe('It is ended after so long.');
const path = z.string().startsWith('/').describe('An absolute path in the sandbox.');

/** The sandboxes of a conversation. */
class Conversation {
  readonly #options: CreateOptions;
  readonly #terminate: (sandbox: Sandbox) => Promise<unknown>;
  readonly #sandboxes = new Map<string, Sandbox>();
  #own: Promise<Sandbox> | undefined;
  #ended = false;

  constructor(options: CreateOptions, terminate: (sandbox: Sandbox) => Promise<unknown>) {
    this.#options = options;
    this.#terminate = terminate;
  }

  /** @throws Error for one that is none of this conversation's */
  async get(id: string | undefined): Promise<Sandbox> {
    if (id !== undefined) {
      const sandbox = this.#sandboxes.get(id);
      if (sandbox) return sandbox;
      throw new Error(`There is no sandbox ${id} in this conversation.`);
    }
    if (!this.#own) {
      const own = this.create();
      this.#own = own;
      own.catch(() => {
        this.#own = undefined;
      });
    }
    return this.#own;
  }

  async create(): Promise<Sandbox> {
    this.#requireRoom(1);
    return this.#take(await Sandbox.create(this.#options));
  }

  /** The ids of the copies. */
  async fork(sandbox: Sandbox, count: number, signal: AbortSignal): Promise<string[]> {
    this.#requireRoom(count);
    const copies = await sandbox.fork({ count, signal });
    return Promise.all(copies.map(async (copy) => (await this.#take(copy)).id));
  }

  /** @throws Error when there would be too many */
  #requireRoom(count: number): void {
    if (this.#sandboxes.size + count > MAX_SANDBOXES) {
      throw new Error(`There may be ${MAX_SANDBOXES} sandboxes: stop one that is no longer needed.`);
    }
  }

  /** @throws Error when the conversation ended meanwhile */
  async #take(sandbox: Sandbox): Promise<Sandbox> {
    if (this.#ended) {
      await this.#terminate(sandbox);
      throw new Error('The conversation is over.');
    }
    this.#sandboxes.set(sandbox.id, sandbox);
    return sandbox;
  }

  async stop(sandbox: Sandbox): Promise<void> {
    this.#sandboxes.delete(sandbox.id);
    if (this.#own && (await this.#own) === sandbox) this.#own = undefined;
    await this.#terminate(sandbox);
  }

  async end(): Promise<void> {
    this.#ended = true;
    await Promise.allSettled([...this.#sandboxes.values()].map((sandbox) => this.#terminate(sandbox)));
  }
}

export interface SandboxTools extends AsyncDisposable {
  readonly server: McpServer;
}

export interface SandboxToolsOptions {
  readonly version: string;
  /** What every sandbox is made with. */
  readonly create: CreateOptions;
  /** By which the agent reaches the server, where that is not how the tools do. */
  readonly host?: string;
  /** Ends a sandbox, where the tools themselves may not be able to any more. */
  readonly terminate?: (sandbox: Sandbox) => Promise<unknown>;
}

export function sandboxTools(options: SandboxToolsOptions): SandboxTools {
  const { version, create, host, terminate = (sandbox) => sandbox.terminate() } = options;
  const conversation = new Conversation(create, terminate);
  const server = new McpServer({ name: 'skerry', version });

  server.registerTool(
    'run_code',
    {
      description:
        'Run Python in an interpreter whose variables stay until the next call. Gives what it prints, the value of the last expression, figures of matplotlib as pictures, and the traceback of an exception.',
      inputSchema: { code: z.string(), timeoutSeconds, sandboxId },
    },
    ({ code, timeoutSeconds: seconds, sandboxId: id }, { signal }) =>
      answer(async () => {
        const sandbox = await conversation.get(id);
        return codeAnswer(await sandbox.runCode('python', code, { timeoutMs: seconds * 1000, signal }));
      }),
  );

  server.registerTool(
    'run_command',
    {
      description: 'Run a command of a shell in the sandbox. Gives its exit code and output.',
      inputSchema: { command: z.string().min(1), cwd: path.optional(), timeoutSeconds, sandboxId },
    },
    ({ command, cwd, timeoutSeconds: seconds, sandboxId: id }, { signal }) =>
      answer(async () => {
        const sandbox = await conversation.get(id);
        const shell = 'if command -v bash >/dev/null; then exec bash -c "$0"; else exec sh -c "$0"; fi';
        const program = sandbox.exec(['/bin/sh', '-c', shell, command], {
          cwd,
          timeoutMs: seconds * 1000,
          signal,
        });
        return commandAnswer(await program);
      }),
  );

  server.registerTool(
    'read_file',
    {
      description: `Read a text file, of at most ${MAX_FILE_BYTES} bytes, or a PNG or JPEG picture.`,
      inputSchema: { path, sandboxId },
    },
    ({ path: file, sandboxId: id }, { signal }) =>
      answer(async () => {
        const { files } = await conversation.get(id);
        const bytes = await readBounded(await files.readStream(file, { signal }));
        const [, extension] = /\.(png|jpe?g)$/i.exec(file) ?? [];
        if (extension === undefined) return text(new TextDecoder().decode(bytes));
        const mimeType = extension.toLowerCase() === 'png' ? 'image/png' : 'image/jpeg';
        return { content: [{ type: 'image', data: Buffer.from(bytes).toString('base64'), mimeType }] };
      }),
  );

  server.registerTool(
    'write_file',
    {
      description: 'Write a text file; it is replaced when it is there, and missing directories are made.',
      inputSchema: { path, content: z.string(), sandboxId },
    },
    ({ path: file, content, sandboxId: id }, { signal }) =>
      answer(async () => {
        const { files } = await conversation.get(id);
        await files.write(file, content, { signal });
        return text(`Written: ${file}, ${Buffer.byteLength(content)} bytes.`);
      }),
  );

  server.registerTool(
    'list_files',
    { description: 'What is in a directory.', inputSchema: { path, sandboxId } },
    ({ path: directory, sandboxId: id }, { signal }) =>
      answer(async () => {
        const { files } = await conversation.get(id);
        const entries = await files.list(directory, { signal });
        const lines = entries.map(({ type, size, name }) => `${type}\t${size}\t${name}`);
        return text(lines.length === 0 ? 'It is empty.' : lines.join('\n'));
      }),
  );

  server.registerTool(
    'expose_port',
    {
      description: 'A URL and a token by which an HTTP server in the sandbox is reached from outside.',
      inputSchema: { port: z.number().int().min(1).max(65_535), sandboxId },
    },
    ({ port, sandboxId: id }, { signal }) =>
      answer(async () => {
        const sandbox = await conversation.get(id);
        const { url, ...rest } = await sandbox.connectToken(port, { signal });
        const reached = new URL(url);
        if (host !== undefined) reached.hostname = host;
        return text(JSON.stringify({ url: reached.href, ...rest }));
      }),
  );

  server.registerTool(
    'snapshot',
    {
      description: "Keep the sandbox's files as they are now, as an image. Gives its id.",
      inputSchema: { sandboxId },
    },
    ({ sandboxId: id }, { signal }) =>
      answer(async () => {
        const sandbox = await conversation.get(id);
        return text(JSON.stringify(await sandbox.snapshot({ signal })));
      }),
  );

  server.registerTool(
    'fork',
    {
      description:
        'Copies of a sandbox that go on where it is, with its files, its variables and its programs: to try several ways from here. Gives their ids.',
      inputSchema: { count: z.number().int().min(1).max(MAX_SANDBOXES).default(1), sandboxId },
    },
    ({ count, sandboxId: id }, { signal }) =>
      answer(async () =>
        text((await conversation.fork(await conversation.get(id), count, signal)).join('\n')),
      ),
  );

  server.registerTool(
    'create_sandbox',
    { description: 'Make a further sandbox, empty and apart from the others. Gives its id.' },
    () => answer(async () => text((await conversation.create()).id)),
  );

  server.registerTool(
    'stop',
    {
      description: 'End a sandbox and all that is in it. The next call without sandboxId gets a new one.',
      inputSchema: { sandboxId },
    },
    ({ sandboxId: id }) =>
      answer(async () => {
        const sandbox = await conversation.get(id);
        await conversation.stop(sandbox);
        return text(`Ended: ${sandbox.id}`);
      }),
  );

  return {
    server,
    async [Symbol.asyncDispose]() {
      await conversation.end();
      await server.close();
    },
  };
}

/** What goes wrong is for the model to read. */
async function answer(call: () => Promise<CallToolResult>): Promise<CallToolResult> {
  try {
    return await call();
  } catch (error) {
    const message = error instanceof SkerryError || error instanceof Error ? error.message : String(error);
    return { ...text(message), isError: true };
  }
}

const text = (content: string): CallToolResult => ({ content: [{ type: 'text', text: bounded(content) }] });

function bounded(content: string): string {
  if (content.length <= MAX_TEXT) return content;
  const half = MAX_TEXT / 2;
  const left = content.length - MAX_TEXT;
  return `${content.slice(0, half)}\n… ${left} characters are left out …\n${content.slice(-half)}`;
}

function commandAnswer({ exitCode, timedOut, stdout, stderr }: ExecResult): CallToolResult {
  const status = timedOut ? 'It was ended at its timeout.' : `Exit code: ${exitCode}`;
  const parts = [
    status,
    ...(stdout === '' ? [] : [`stdout:\n${stdout}`]),
    ...(stderr === '' ? [] : [`stderr:\n${stderr}`]),
  ];
  return { content: parts.map((part) => ({ type: 'text', text: bounded(part) })), isError: exitCode !== 0 };
}

function codeAnswer({ stdout, stderr, results, error }: CodeResult): CallToolResult {
  const content: CallToolResult['content'] = [];
  const say = (part: string | undefined) => {
    if (part) content.push({ type: 'text', text: bounded(part) });
  };
  say(stdout);
  say(stderr);
  for (const { png, html, text: plain } of results) {
    if (png) content.push({ type: 'image', data: png, mimeType: 'image/png' });
    else say(html ?? plain);
  }
  say(error?.traceback);
  if (content.length === 0) say('It ran, and printed nothing.');
  return { content, isError: error !== undefined };
}

/** @throws Error for more than a model can read */
async function readBounded(content: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of content) {
    size += piece.length;
    if (size > MAX_FILE_BYTES) {
      throw new Error(`It has more than ${MAX_FILE_BYTES} bytes: read a part of it with run_command.`);
    }
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}
