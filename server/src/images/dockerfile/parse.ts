/**
 * Parses a Dockerfile. `dockerfile-ast` finds the directives, the instructions and where each ends; what is in an instruction is read here, since the
 * library keeps comments inside continued lines and splits quoted words. Reference: https://docs.docker.com/reference/dockerfile/
 */
import { DockerfileParser } from 'dockerfile-ast';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { Healthcheck } from '../image.ts';
import { checkStopSignal } from '../stop-signal.ts';
import { checkAdded, checkAddress, checkChecksum, checkMode } from './copy-words.ts';
import { HEALTHCHECK_FLAGS, readHealthcheck } from './healthcheck.ts';
import type {
  ArgInstruction,
  Command,
  CopyInstruction,
  Dockerfile,
  FromInstruction,
  Instruction,
  Pair,
  RunInstruction,
  Stage,
} from './instruction.ts';
import { heredocMarker, type LogicalLine, logicalLine, splitWords } from './lines.ts';
import { parseRunMount } from './run-mount.ts';

const MAX_BYTES = 1 << 20;
const MAX_INSTRUCTIONS = 2000;

/** @throws SkerryError `invalid-argument` naming the line for everything that is not a Dockerfile Skerry can build; `too-large` beyond 1 MiB. */
export function parseDockerfile(text: string): Dockerfile {
  if (text.length > MAX_BYTES) {
    throw new SkerryError(
      'too-large',
      `The Dockerfile has ${text.length} characters; at most ${MAX_BYTES} are read.`,
    );
  }
  const source = text.replaceAll('\r\n', '\n');
  const ast = DockerfileParser.parse(source);
  const escapeChar = ast.getEscapeCharacter();
  const found = ast.getInstructions();
  if (found.length > MAX_INSTRUCTIONS) {
    throw new SkerryError(
      'too-large',
      `The Dockerfile has ${found.length} instructions; at most ${MAX_INSTRUCTIONS} are built.`,
    );
  }
  const lines = source.split('\n');
  const globalArgs: ArgInstruction[] = [];
  const stages: { from: FromInstruction; instructions: Stage['instructions'][number][] }[] = [];
  for (const each of found) {
    const { start, end } = each.getRange();
    const line = start.line + 1;
    const logical = logicalLine(lines.slice(start.line, end.line + 1), escapeChar, line);
    const instruction = new InstructionParser(logical, line, escapeChar).parse();
    const stage = stages.at(-1);
    if (instruction.kind === 'from') stages.push({ from: instruction, instructions: [] });
    else if (stage) stage.instructions.push(instruction);
    else if (instruction.kind === 'arg') globalArgs.push(instruction);
    else
      throw new SkerryError(
        'invalid-argument',
        `Dockerfile line ${line}: only ARG may come before the first FROM, not \`${instruction.source}\``,
      );
  }
  if (stages.length === 0) throw new SkerryError('invalid-argument', 'The Dockerfile has no FROM.');
  return { escapeChar, globalArgs, stages };
}

type Flags = ReadonlyMap<string, readonly string[]>;

class InstructionParser {
  readonly #logical: LogicalLine;
  readonly #line: number;
  readonly #escapeChar: string;
  readonly #keyword: string;
  /** What follows the keyword and its flags. */
  #rest: string;
  #flags: Flags = new Map();

  constructor(logical: LogicalLine, line: number, escapeChar: string) {
    this.#logical = logical;
    this.#line = line;
    this.#escapeChar = escapeChar;
    const [, keyword = '', rest = ''] = /^(\S+)\s*(.*)$/s.exec(logical.text) ?? [];
    this.#keyword = keyword.toUpperCase();
    this.#rest = rest;
  }

  parse(): Instruction {
    const base = { line: this.#line, source: this.#logical.text };
    switch (this.#keyword) {
      case 'FROM':
        return this.#from(base);
      case 'RUN':
        return this.#run(base);
      case 'COPY':
      case 'ADD':
        return this.#copy(base);
      case 'ENV':
      case 'LABEL':
        return { ...base, kind: this.#keyword === 'ENV' ? 'env' : 'label', pairs: this.#pairs() };
      case 'ARG':
        return { ...base, kind: 'arg', args: this.#args() };
      case 'WORKDIR':
        return { ...base, kind: 'workdir', value: this.#one() };
      case 'USER':
        return { ...base, kind: 'user', value: this.#one() };
      case 'STOPSIGNAL':
        return { ...base, kind: 'stopsignal', value: this.#stopSignal() };
      case 'SHELL':
        return { ...base, kind: 'shell', argv: this.#shell() };
      case 'ENTRYPOINT':
        return { ...base, kind: 'entrypoint', command: this.#command() };
      case 'CMD':
        return { ...base, kind: 'cmd', command: this.#command() };
      case 'EXPOSE':
        return { ...base, kind: 'expose', ports: splitWords(this.#one(), this.#escapeChar) };
      case 'VOLUME':
        return { ...base, kind: 'volume', paths: this.#volumes() };
      case 'HEALTHCHECK':
        return { ...base, kind: 'healthcheck', healthcheck: this.#healthcheck() };
      case 'ONBUILD':
        return { ...base, kind: 'onbuild', trigger: this.#trigger() };
      case 'MAINTAINER':
        return { ...base, kind: 'maintainer', value: this.#one() };
      default:
        return this.#fail(`unknown instruction \`${this.#keyword.slice(0, 40)}\``);
    }
  }

  #fail(problem: string): never {
    throw new SkerryError('invalid-argument', `Dockerfile line ${this.#line}: ${problem}`);
  }

  /** Takes `--name=value` and `--name` off the front of the arguments. */
  #takeFlags(allowed: readonly string[]): void {
    const flags = new Map<string, string[]>();
    for (;;) {
      const match = /^--([a-z][a-z.-]*)(?:=((?:"[^"]*"|'[^']*'|[^\s"'])*))?(?:\s+|$)/.exec(this.#rest);
      if (!match) break;
      const name = match[1] ?? '';
      if (!allowed.includes(name))
        this.#fail(
          `${this.#keyword} has no flag \`--${name}\` here (known: ${allowed.map((each) => `--${each}`).join(', ')})`,
        );
      flags.set(name, [...(flags.get(name) ?? []), this.#unquoted(match[2] ?? '')]);
      this.#rest = this.#rest.slice(match[0].length);
    }
    this.#flags = flags;
  }

  /** The value of a flag, whose quotes and escapes are gone before anything looks at it. */
  #unquoted(value: string): string {
    const escaped = `\\${this.#escapeChar}`;
    return value.replaceAll(new RegExp(`${escaped}([\\s\\S])|["']`, 'g'), '$1');
  }

  #flag(name: string): string | undefined {
    const values = this.#flags.get(name);
    if (values && values.length > 1) this.#fail(`\`--${name}\` is given twice`);
    return values?.[0];
  }

  #one(): string {
    if (this.#rest === '') this.#fail(`${this.#keyword} needs an argument`);
    return this.#rest;
  }

  #jsonStrings(): string[] | undefined {
    if (!this.#rest.startsWith('[')) return undefined;
    let value: unknown;
    try {
      value = JSON.parse(this.#rest);
    } catch {
      return undefined; // Docker takes what looks like a list but is none as shell form
    }
    return Array.isArray(value) && value.every((each) => typeof each === 'string') ? value : undefined;
  }

  #command(): Command {
    const argv = this.#jsonStrings();
    if (argv) return { form: 'exec', argv };
    return { form: 'shell', text: this.#one() };
  }

  #stopSignal(): string {
    const signal = this.#one();
    if (isPlain(signal)) checkStopSignal(bare(signal), (problem) => this.#fail(problem));
    return signal;
  }

  #volumes(): readonly string[] {
    const paths = this.#jsonStrings() ?? splitWords(this.#one(), this.#escapeChar);
    if (paths.length === 0) this.#fail('VOLUME needs a directory');
    return paths;
  }

  #healthcheck(): Healthcheck {
    this.#takeFlags(HEALTHCHECK_FLAGS);
    const [, type = '', rest = ''] = /^(\S+)\s*(.*)$/s.exec(this.#one()) ?? [];
    if (type.toUpperCase() === 'NONE' && rest === '') return { test: ['NONE'] };
    if (type.toUpperCase() !== 'CMD')
      this.#fail('HEALTHCHECK is `HEALTHCHECK CMD command` or `HEALTHCHECK NONE`');
    this.#rest = rest;
    return readHealthcheck(
      this.#command(),
      (name) => this.#flag(name),
      (problem) => this.#fail(problem),
    );
  }

  #shell(): readonly string[] {
    const argv = this.#jsonStrings();
    if (!argv) return this.#fail('SHELL needs a JSON list such as ["/bin/bash", "-c"]');
    return argv;
  }

  #from(base: { line: number; source: string }): FromInstruction {
    this.#takeFlags(['platform']);
    const words = splitWords(this.#rest, this.#escapeChar);
    const [image, as, alias] = words;
    if (image === undefined || (words.length !== 1 && (words.length !== 3 || as?.toUpperCase() !== 'AS'))) {
      return this.#fail('FROM is `FROM image` or `FROM image AS name`');
    }
    if (alias !== undefined && !/^[a-z][a-z0-9_.-]*$/i.test(alias)) {
      this.#fail(
        `\`${alias.slice(0, 80)}\` cannot be a stage's name: it starts with a letter, then letters, digits, "-", "_" and "."`,
      );
    }
    return { ...base, kind: 'from', image, alias: alias?.toLowerCase(), platform: this.#flag('platform') };
  }

  #run(base: { line: number; source: string }): RunInstruction {
    this.#takeFlags(['mount', 'network', 'security']);
    const network = this.#flag('network') ?? 'default';
    if (network !== 'default' && network !== 'none')
      this.#fail(`RUN --network=${network} is not supported: it is default or none`);
    if ((this.#flag('security') ?? 'sandbox') !== 'sandbox')
      this.#fail('RUN --security=insecure is not supported');
    const mounts = (this.#flags.get('mount') ?? []).map((value) =>
      parseRunMount(value, (problem) => this.#fail(problem)),
    );
    const { heredocs, heredocText } = this.#logical;
    const command = this.#command();
    const script = heredocs.length === 1 && heredocMarker(this.#rest) ? heredocs[0]?.content : undefined;
    return {
      ...base,
      kind: 'run',
      command:
        command.form === 'shell' && heredocText !== ''
          ? { form: 'shell', text: `${command.text}\n${heredocText}` }
          : command,
      script,
      mounts,
      network: network === 'none' ? 'blocked' : 'open',
    };
  }

  #copy(base: { line: number; source: string }): CopyInstruction {
    const add = this.#keyword === 'ADD';
    const own = add ? ['checksum', 'keep-git-dir', 'unpack'] : ['from', 'parents'];
    this.#takeFlags(['chown', 'chmod', 'link', 'exclude', ...own]);
    const words = this.#jsonStrings() ?? splitWords(this.#rest, this.#escapeChar);
    const destination = words.pop();
    if (destination === undefined || words.length === 0)
      return this.#fail(`${this.#keyword} needs a source and a destination`);
    const [chmod, checksum] = [this.#flag('chmod'), this.#flag('checksum')];
    const fail = (problem: string) => this.#fail(problem);
    if (chmod !== undefined && isPlain(chmod)) checkMode(chmod, fail);
    if (checksum !== undefined && isPlain(checksum)) checkChecksum(checksum, fail);
    if (add) for (const word of words) checkAddress(bare(word), fail);
    if (add && words.every(isPlain)) checkAdded(words.map(bare), checksum, fail);
    return {
      ...base,
      kind: 'copy',
      add,
      unpack: this.#flags.has('unpack') ? this.#boolean('unpack') : undefined,
      checksum,
      parents: this.#boolean('parents'),
      exclude: this.#flags.get('exclude') ?? [],
      from: this.#flag('from'),
      // As in BuildKit, where a mode for the files takes the effect of the flag away (dockerfile2llb/convert_copy.go).
      link: this.#boolean('link') && chmod === undefined,
      chown: this.#flag('chown'),
      chmod,
      sources: words.filter((word) => !heredocMarker(word)),
      heredocs: this.#logical.heredocs,
      destination,
    };
  }

  #boolean(name: string): boolean {
    const value = this.#flag(name) ?? 'false';
    if (/^(true|1|)$/i.test(value)) return true;
    return /^(false|0)$/i.test(value) ? false : this.#fail(`\`--${name}\` is true or false`);
  }

  /** Read now, so that what cannot be built is told by who writes it; the lines of a heredoc stay with it. */
  #trigger(): string {
    const text = this.#one();
    const keyword = /^\S+/.exec(text)?.[0].toUpperCase() ?? '';
    if (['ONBUILD', 'FROM', 'MAINTAINER'].includes(keyword))
      this.#fail(`${keyword} cannot be a trigger of ONBUILD`);
    new InstructionParser({ ...this.#logical, text }, this.#line, this.#escapeChar).parse();
    return this.#logical.heredocText === '' ? text : `${text}\n${this.#logical.heredocText}`;
  }

  /** `k=v k2="v 2"`, or the old form `k the rest of the line`. */
  #pairs(): Pair[] {
    const words = splitWords(this.#one(), this.#escapeChar);
    const first = words[0] ?? '';
    if (!first.includes('=')) {
      const value = this.#rest.slice(first.length).trim();
      if (value === '') this.#fail(`${this.#keyword} ${first.slice(0, 80)} has no value`);
      return [[first, value]];
    }
    return words.map((word): Pair => {
      const at = word.indexOf('=');
      if (at < 1) return this.#fail(`\`${word.slice(0, 80)}\` is not \`name=value\``);
      return [word.slice(0, at), word.slice(at + 1)];
    });
  }

  #args(): ArgInstruction['args'] {
    return splitWords(this.#one(), this.#escapeChar).map((word) => {
      const at = word.indexOf('=');
      const name = at < 0 ? word : word.slice(0, at);
      if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name))
        this.#fail(`\`${name.slice(0, 80)}\` cannot be the name of an ARG`);
      return { name, value: at < 0 ? undefined : word.slice(at + 1) };
    });
  }
}

/** What holds a variable is looked at when its value is known. */
const isPlain = (word: string): boolean => !word.includes('$');
const bare = (word: string): string => word.replace(/^(["'])(.*)\1$/, '$2');
