/** The table of docs/sdk-migration.md: what one writes with other clients, and with ours. */
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { run } from '../../server/src/platform/command.ts';
import { projectRoot } from './server.ts';

/** What their lines stand on: where a package is installed, and what other lines than this gave. The names of the columns are those of the page. */
const OTHERS = {
  '`modal` (JavaScript)': {
    from: { modal: 'node_modules' },
    given: `import type { App, ContainerProcess, Image, ModalClient, Sandbox } from 'modal';
declare const modal: ModalClient, app: App, image: Image, sandbox: Sandbox, process: ContainerProcess;`,
  },
  '`e2b`': {
    from: { '@e2b': 'tools/node_modules' },
    given: `import { type CommandHandle, type CommandResult, Sandbox } from '@e2b/code-interpreter';
declare const sandbox: Sandbox, command: CommandHandle, result: CommandResult;`,
  },
  '`@vercel/sandbox`': {
    from: { '@vercel': 'tools/node_modules' },
    given: `import { type Command, type CommandFinished, Sandbox } from '@vercel/sandbox';
declare const sandbox: Sandbox, command: Command, result: CommandFinished, signal: AbortSignal;`,
  },
  '`@cloudflare/sandbox`': {
    from: { '@cloudflare': 'tools/node_modules' },
    given: `import { getSandbox } from '@cloudflare/sandbox';
type Sandbox = ReturnType<typeof getSandbox>;
type Given<Name extends 'exec' | 'startProcess' | 'createCodeContext'> = Awaited<ReturnType<Sandbox[Name]>>;
declare const sandbox: Sandbox, process: Given<'startProcess'>, result: Given<'exec'>, context: Given<'createCodeContext'>;
declare const env: { Sandbox: Parameters<typeof getSandbox>[0] }, hostname: string, endpoint: string;`,
  },
} as const;

/** The code in each field, by the heads of the columns. */
export interface MigrationPage {
  readonly heads: readonly string[];
  readonly rows: readonly (readonly (readonly string[])[])[];
}

export function readMigrationPage(): MigrationPage {
  const page = readFileSync(join(projectRoot, 'docs', 'sdk-migration.md'), 'utf8');
  const lines = page.split('\n').filter((line) => line.startsWith('|') && !line.startsWith('|---'));
  const [heads = [], ...rows] = lines.map((line) =>
    line
      .slice(1, -1)
      .split('|')
      .map((field) => field.trim()),
  );
  const codeOf = (field: string) =>
    [...field.matchAll(/(`{1,2})(.+?)\1(?!`)/g)].map(([, , code = '']) => code);
  return { heads, rows: rows.map((fields) => fields.map(codeOf)) };
}

/**
 * Compiles the lines of the other clients against the types that these publish.
 * @param directory an empty one
 * @throws with what the compiler said
 */
export async function compileOthers(directory: string): Promise<void> {
  const { heads, rows } = readMigrationPage();
  const files = Object.entries(OTHERS).map(([head, { from, given }], index) => {
    for (const [name, installed] of Object.entries(from)) {
      const link = join(directory, 'node_modules', name);
      mkdirSync(dirname(link), { recursive: true });
      symlinkSync(join(projectRoot, installed, name), link);
    }
    const column = heads.indexOf(head);
    const lines = rows.flatMap((fields) => fields[column] ?? []).map((line) => `{ ${line}; }`);
    const file = `other-${index}.mts`;
    const common = 'declare const id: string, script: string;';
    writeFileSync(join(directory, file), [given, common, ...lines].join('\n'));
    return file;
  });
  const flags = ['--noEmit', '--strict', '--skipLibCheck', '--module', 'nodenext', '--target', 'es2024'];
  const types = ['--types', 'node', '--typeRoots', join(projectRoot, 'node_modules/@types')];
  const lib = ['--lib', 'es2024,dom,dom.asynciterable,esnext.disposable'];
  const tsc = join(projectRoot, 'node_modules/.bin/tsc');
  const { code, stdout } = await run([tsc, ...flags, ...types, ...lib, ...files], {
    cwd: directory,
    okCodes: [1, 2],
  });
  if (code !== 0) throw new Error(stdout);
}
