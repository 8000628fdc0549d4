/**
 * Tools for language models that work in one sandbox. Here is what they are; `skerry/openai`, `skerry/anthropic` and `skerry/ai` give them the shapes that these interfaces have. What sandbox it is, its
 * limits and its network are the program's choice, and no tool changes them.
 */
import type { CodeResult, Language } from './code.ts';
import { SkerryError } from './core/errors.ts';
import type { Options } from './process.ts';
import type { Sandbox } from './sandbox.ts';

/** A picture that came out of code. */
export interface ToolImage {
  readonly mediaType: 'image/png';
  /** Base64. */
  readonly data: string;
}

/** What a model is told. What is in it came from the sandbox: it is untrusted. */
export interface ToolAnswer {
  readonly text: string;
  readonly images: readonly ToolImage[];
  readonly isError: boolean;
}

/** One tool: its name, what a model is told of it, and what it does. */
export interface SandboxTool {
  readonly name: string;
  readonly description: string;
  /** JSON Schema of its input. */
  readonly inputSchema: Readonly<Record<string, unknown>>;
  /** Input is a model's, and checked here. What goes wrong is an answer, so that the model can do something about it. @throws only the signal's reason */
  execute(input: unknown, options?: Options): Promise<ToolAnswer>;
}

/** Which tools there are to be, and what bounds them. */
export interface ToolOptions {
  /** Only these of them. Default: all. */
  readonly only?: readonly string[] | undefined;
  /** How long code or a command may take; 120 seconds by default. */
  readonly timeoutMs?: number | undefined;
  /** How much of a text a model is told, in characters, its beginning and its end; 20,000 by default. */
  readonly maxCharacters?: number | undefined;
}

const DEFAULT_TIMEOUT_MS = 120_000;
const DEFAULT_CHARACTERS = 20_000;
const LANGUAGES: readonly Language[] = ['python', 'javascript', 'typescript', 'bash'];

type Input = Readonly<Record<string, unknown>>;

const text = (description: string) => ({ type: 'string', description });
const object = (properties: Record<string, object>, required: readonly string[]) => ({
  type: 'object',
  properties,
  required,
  additionalProperties: false,
});

/** The tools of a sandbox: run_code, run_command, read_file, write_file, list_files. */
export function sandboxTools(sandbox: Sandbox, options: ToolOptions = {}): SandboxTool[] {
  const { only, timeoutMs = DEFAULT_TIMEOUT_MS, maxCharacters = DEFAULT_CHARACTERS } = options;
  const path = text('An absolute path.');
  const make = (
    name: string,
    description: string,
    inputSchema: SandboxTool['inputSchema'],
    run: (input: Input, options: Options) => Promise<Partial<ToolAnswer>>,
  ): SandboxTool => ({
    name,
    description,
    inputSchema,
    async execute(input, { signal } = {}) {
      try {
        const answer = await run((input ?? {}) as Input, { signal }); // each field is checked where it is used
        return {
          text: clipped(answer.text ?? '', maxCharacters),
          images: answer.images ?? [],
          isError: answer.isError ?? false,
        };
      } catch (error) {
        signal?.throwIfAborted();
        const told =
          error instanceof SkerryError || error instanceof TypeError ? error.message : String(error);
        return { text: clipped(told, maxCharacters), images: [], isError: true };
      }
    },
  });
  const all = [
    make(
      'run_code',
      'Runs code in an interpreter whose variables stay until the next call. Returns what it prints, the value of its last expression, pictures of matplotlib, and failures with their traceback.',
      object({ language: { type: 'string', enum: LANGUAGES }, code: text('The code.') }, [
        'language',
        'code',
      ]),
      async (input, { signal }) => {
        const language = oneOf(input, 'language', LANGUAGES);
        return toldOfCode(await sandbox.runCode(language, textOf(input, 'code'), { timeoutMs, signal }));
      },
    ),
    make(
      'run_command',
      'Runs a command of a shell, without input, and returns its output and its exit code.',
      object({ command: text('The command.'), cwd: text('The directory it runs in, absolute.') }, [
        'command',
      ]),
      async (input, { signal }) => {
        const argv = ['sh', '-c', textOf(input, 'command')];
        const cwd = input.cwd === undefined ? undefined : textOf(input, 'cwd');
        const { stdout, stderr, exitCode, timedOut } = await sandbox.exec(argv, { cwd, timeoutMs, signal });
        const how = timedOut ? `It was killed after ${timeoutMs / 1000} s.` : `Exit code ${exitCode}.`;
        return {
          text: [stdout, stderr, how].filter((part) => part !== '').join('\n'),
          isError: exitCode !== 0,
        };
      },
    ),
    make(
      'read_file',
      'Returns the text of a file.',
      object({ path }, ['path']),
      async (input, { signal }) => ({
        text: await sandbox.files.readText(textOf(input, 'path'), { signal }),
      }),
    ),
    make(
      'write_file',
      'Creates or replaces a file, and the directories that it needs.',
      object({ path, content: text('All of its text.') }, ['path', 'content']),
      async (input, { signal }) => {
        await sandbox.files.write(textOf(input, 'path'), textOf(input, 'content'), { signal });
        return { text: 'Written.' };
      },
    ),
    make(
      'list_files',
      'Lists what is in a directory.',
      object({ path }, ['path']),
      async (input, { signal }) => {
        const entries = await sandbox.files.list(textOf(input, 'path'), { signal });
        return {
          text: entries.map(({ name, type, size }) => `${type} ${size} ${name}`).join('\n') || 'Nothing.',
        };
      },
    ),
  ];
  return all.filter(({ name }) => only?.includes(name) ?? true);
}

/** Runs the tool of that name. A name that there is not is an answer as well. */
export async function callTool(
  tools: readonly SandboxTool[],
  name: string,
  input: unknown,
  options: Options,
): Promise<ToolAnswer> {
  const tool = tools.find((each) => each.name === name);
  if (tool) return tool.execute(input, options);
  const known = tools.map((each) => each.name).join(', ');
  return { text: `There is no tool ${name}, only ${known}.`, images: [], isError: true };
}

function toldOfCode({ stdout, stderr, results, error }: CodeResult): Partial<ToolAnswer> {
  const values = results.map((result) => result.text ?? '');
  const parts = [stdout, stderr, ...values, error?.traceback ?? ''];
  return {
    text: parts.filter((part) => part !== '').join('\n') || 'It ran, and printed nothing.',
    images: results.flatMap(({ png }) => (png ? [{ mediaType: 'image/png' as const, data: png }] : [])),
    isError: error !== undefined,
  };
}

/** @throws TypeError for what is no text */
function textOf(input: Input, name: string): string {
  const value = input[name];
  if (typeof value === 'string') return value;
  throw new TypeError(`The input must have a text '${name}'.`);
}

/** @throws TypeError for what is none of them */
function oneOf<T extends string>(input: Input, name: string, known: readonly T[]): T {
  const found = known.find((each) => each === input[name]);
  if (found !== undefined) return found;
  throw new TypeError(`The input's '${name}' must be one of ${known.join(', ')}.`);
}

function clipped(whole: string, most: number): string {
  if (whole.length <= most) return whole;
  const half = Math.floor(most / 2);
  return `${whole.slice(0, half)}\n[${whole.length - 2 * half} characters are left out]\n${whole.slice(-half)}`;
}
