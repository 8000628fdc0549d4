/** What was tried in a machine and how it went, as a page of `docs/machines/`. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './paths.mjs';
import { step } from './step.mjs';

const directory = join(root, 'docs', 'machines');
/** Of the output of what failed: Node's test runner lists the failures last, each with a long stack. */
const KEPT_LINES = 200;

export class MachineRecord {
  #machine;
  #heading;
  #path;
  #rows = [];
  /** What kind of machine it is; printed as it is. */
  facts = '';

  /** `kind`: of this kind of record, a word for its name, or none for the walk from nothing. `heading`: the paragraphs above the table. */
  constructor(machine, kind, heading) {
    this.#machine = machine;
    this.#heading = heading;
    const name = [new Date().toISOString().slice(0, 10), machine.suite, ...(kind ? [kind] : [])].join('-');
    // An earlier record of the day stays.
    for (let number = 1; ; number++) {
      this.#path = join(directory, `${name}${number === 1 ? '' : `-${number}`}.md`);
      if (!existsSync(this.#path)) break;
    }
  }

  get isGood() {
    return this.#rows.every(({ good }) => good);
  }

  /** Does one thing in the machine and records how it went. `note(result)` adds to what the record says. Resolves with the command's result. */
  async attempt(title, commandLine, { isGood = ({ code }) => code === 0, note = () => '' } = {}) {
    const started = Date.now();
    let result;
    await step(title, async (progress) => {
      result = await this.#machine.run(commandLine, progress);
      const good = isGood(result);
      const seconds = Math.round((Date.now() - started) / 1000);
      this.#rows.push({ title, seconds, good, note: note(result), output: result.output });
      // After each of them: a machine that is cut off after hours leaves what it had shown.
      this.#write();
      return good ? undefined : { note: `status ${result.code}`, missing: true };
    });
    return result;
  }

  #write() {
    const failed = this.#rows.filter(({ good }) => !good);
    const result = ({ good, note }) => [good ? 'good' : '**failed**', ...(note ? [note] : [])].join(': ');
    const text = [
      `# ${this.#machine.suite}, ${new Date().toISOString().slice(0, 10)}`,
      '',
      ...this.#heading,
      '',
      '```',
      this.facts.trim(),
      '```',
      '',
      '| what | seconds | result |',
      '|---|---|---|',
      ...this.#rows.map((row) => `| ${row.title} | ${row.seconds} | ${result(row)} |`),
      ...failed.flatMap(({ title, output }) => [
        '',
        `## ${title}`,
        '',
        '```',
        output.trim().split('\n').slice(-KEPT_LINES).join('\n'),
        '```',
      ]),
      '',
    ].join('\n');
    mkdirSync(directory, { recursive: true });
    writeFileSync(this.#path, text);
  }
}
