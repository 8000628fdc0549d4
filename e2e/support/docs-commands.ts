/** The command lines of the documentation that call `skerry`, and what a test does with each. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { projectRoot } from './server.ts';

export interface DocumentedLine {
  readonly page: string;
  /** Without the prompt of a terminal, and without the comment at its end. */
  readonly line: string;
  /** What the page says that it prints, where it is the text of a terminal; `…` stands for anything. */
  readonly shown: readonly string[] | undefined;
}

const readmes = ['', 'sdk/', 'modbox-sdk/', 'connect/', 'command/', 'examples/modbox/'].map(
  (directory) => `${directory}README.md`,
);
const pages = [
  ...[...readmes, 'SECURITY.md', 'CONTRIBUTING.md'],
  ...readdirSync(join(projectRoot, 'docs'))
    .filter((name) => name.endsWith('.md'))
    .map((name) => `docs/${name}`),
];

const plainLines = (block: string): Omit<DocumentedLine, 'page'>[] =>
  block.split('\n').map((line) => ({ line: line.replace(/ +# .*$/, '').trim(), shown: undefined }));

const stepsOf = (block: string): Omit<DocumentedLine, 'page'>[] =>
  block
    .split(/^\$ /m)
    .slice(1)
    .map((step) => {
      const [line = '', ...shown] = step.trimEnd().split('\n');
      return { line, shown };
    });

/** Every line of a shell, on any page for users, that has the word `skerry` where a command is. */
export const documentedLines: readonly DocumentedLine[] = pages.flatMap((page) =>
  [...readFileSync(join(projectRoot, page), 'utf8').matchAll(/^```(\w*)\n(.*?)^```$/gms)]
    .filter(([, kind = '']) => ['sh', 'bash', 'console', ''].includes(kind))
    .flatMap(([, kind, block = '']) => (kind === 'console' ? stepsOf(block) : plainLines(block)))
    .filter(({ line }) => /(^|[|;(&] *|-- |\w=\S+ |no-install )skerry /.test(line))
    .map((each) => ({ page, ...each })),
);
