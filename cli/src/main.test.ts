import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { run } from '../../server/src/platform/command.ts';
import { findProgram } from '../../server/src/platform/find-program.ts';
import { callingCommands, servingWords } from './calling.ts';
import { formatChecks } from './commands/doctor.ts';
import { completionScript } from './completion.ts';
import { commands, createProgram } from './main.ts';

const bin = fileURLToPath(new URL('../bin/skerry.mjs', import.meta.url));

const allOf = (command: Command): Command[] => [command, ...command.commands.flatMap(allOf)];

/** What the help of a command says, with what comes after its options. */
function helpOf(command: Command): string {
  let said = '';
  command.configureOutput({
    writeOut: (text) => {
      said += text;
    },
  });
  command.outputHelp();
  return said;
}

/** The words of a command line without variables and substitutions, up to what the shell does with its output. */
const wordsOf = (line: string): string[] =>
  [...line.replace(/ [<>].*$/, '').matchAll(/'([^']*)'|(\S+)/g)].map(
    ([, quoted, plain]) => quoted ?? plain ?? '',
  );

test('the help of every command has examples, and each is a command line that it takes', async () => {
  const program = await createProgram();
  const leaves = allOf(program).filter(({ commands }) => commands.length === 0);
  for (const leaf of leaves.filter((each) => each.name() !== 'connect')) {
    const lines = [...helpOf(leaf).matchAll(/^ {2}(?:.*\| )?skerry (.+)$/gm)].map(([, line = '']) => line);
    assert.ok(lines.length > 0, `skerry ${leaf.name()} --help has no example`);
    for (const line of lines) {
      const called: Command[] = [];
      const fresh = await createProgram();
      for (const command of allOf(fresh).slice(1)) {
        if (command.commands.length > 0) continue;
        command.action(() => {
          called.push(command);
        });
      }
      await fresh.parseAsync(wordsOf(line), { from: 'user' });
      assert.deepEqual(
        called.map((command) => command.name()),
        [leaf.name()],
        line,
      );
    }
  }
});

test('every command that says something has --json', async () => {
  const silent = 'says nothing when it is done';
  const without: Record<string, string> = {
    shell: 'is a terminal',
    cp: silent,
    mcp: 'speaks a protocol, which is JSON',
    'volume put': silent,
    'volume get': silent,
    'volume cp': silent,
    'volume rm': silent,
    'volume rename': silent,
    'volume delete': silent,
    'secret delete': silent,
    'app stop': silent,
    'checkpoint delete': silent,
    'image export': 'writes an archive, perhaps to its output',
    'ca show': 'prints a certificate',
    'ca uninstall': silent,
    connect: 'reads its own words: the package skerry-connect has it too',
    completion: 'prints a script',
  };
  const pathOf = (command: Command): string =>
    command.parent ? `${pathOf(command.parent)} ${command.name()}`.trim() : '';
  const leaves = allOf(await createProgram()).filter(({ commands }) => commands.length === 0);
  assert.deepEqual(
    leaves
      .filter(({ options }) => !options.some(({ long }) => long === '--json'))
      .map(pathOf)
      .sort(),
    Object.keys(without).sort(),
  );
});

test('no help says that a list has nothing in it where nothing was given', async () => {
  for (const command of allOf(await createProgram())) assert.doesNotMatch(helpOf(command), /\[\]/);
});

test('every command is listed, and is one that only calls a server or one that looks after it', async () => {
  const names = (await createProgram()).commands.map((each) => each.name());
  assert.deepEqual(names.sort(), Object.keys(commands).sort());
  const known = [...Object.keys(callingCommands), ...servingWords, 'completion'];
  assert.deepEqual(names, known.sort());
});

test('no translations of messages are loaded, and messages are there', async () => {
  const program =
    "import { z } from 'zod'; console.log(Object.keys(z.locales).length, z.string().safeParse(1).error.message)";
  const hook = fileURLToPath(new URL('../bin/without-translations.mjs', import.meta.url));
  const options = { cwd: dirname(bin) };
  const { stdout } = await run(
    [process.execPath, '--import', hook, '--input-type=module', '-e', program],
    options,
  );
  assert.match(stdout, /^0 .*expected string, received number/s);
});

test('only the command that is called is loaded', async () => {
  const names = async (word?: string) => (await createProgram(word)).commands.map((each) => each.name());
  assert.deepEqual(await names('run'), ['run']);
  assert.ok((await names('rnu')).includes('run'), 'all of them, to find the nearest');
  assert.ok((await names('constructor')).includes('run'));
});

describe('completion', () => {
  const bash = async (words: readonly string[]) => {
    const script = `${completionScript('bash', await createProgram())}
COMP_WORDS=(skerry "$@"); COMP_CWORD=$(($# )); _skerry; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout } = await run(['bash', '-c', script, 'bash', ...words]);
    return stdout.split('\n').filter(Boolean);
  };

  test('bash completes commands, commands of groups, and options', async () => {
    assert.deepEqual(await bash(['statu']), ['status']);
    assert.deepEqual(await bash(['image', 'bui']), ['build']);
    assert.deepEqual(await bash(['run', '--pyt']), ['--python']);
    assert.deepEqual(await bash(['run', '--python', '3.12', '--vol']), ['--volume']);
    assert.deepEqual(await bash(['run', '--', 'sta']), [], 'arguments of a program are its own');
  });

  for (const [shell, check] of [
    ['bash', ['-n']],
    ['zsh', ['-n']],
    ['fish', ['--no-execute']],
  ] as const) {
    const missing = findProgram(shell) ? false : `${shell} is not here`;
    test(`the script for ${shell} is one`, { skip: missing }, async () => {
      const file = join(mkdtempSync(join(tmpdir(), 'completion-')), 'script');
      try {
        writeFileSync(file, completionScript(shell, await createProgram()));
        await run([shell, ...check, file]);
      } finally {
        rmSync(dirname(file), { recursive: true });
      }
    });
  }
});

describe('the skerry command', () => {
  let dir: string;
  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'cli-test-'));
  });
  after(() => rmSync(dir, { recursive: true, force: true }));

  const skerry = (...args: string[]) =>
    run([process.execPath, bin, ...args], {
      env: { PATH: process.env.PATH ?? '', HOME: dir },
      okCodes: [1, 2, 3],
    });

  test('shows help with every command, and the settings of `up`', async () => {
    const help = await skerry('--help');
    assert.equal(help.code, 0);
    for (const name of ['up', 'down', 'status', 'env', 'doctor'])
      assert.match(help.stdout, new RegExp(`^  ${name} `, 'm'));
    const up = await skerry('up', '--help');
    assert.match(up.stdout, /--runtime <auto\|gvisor\|runc>/);
    assert.match(up.stdout, /--default-memory-mib/);
  });

  test('ends with status 2 on wrong usage, 3 when no server runs, and keeps standard output clean', async () => {
    const unknown = await skerry('frobnicate');
    assert.deepEqual([unknown.code, unknown.stdout], [2, '']);
    assert.match(unknown.stderr, /unknown command 'frobnicate'/);
    const value = await skerry('up', '--port', 'x');
    assert.deepEqual([value.code, value.stdout], [2, '']);
    assert.match(value.stderr, /flag --port: "x"/);
    for (const name of ['status', 'env']) {
      const result = await skerry(name);
      assert.deepEqual([result.code, result.stdout], [3, ''], name);
      assert.match(result.stderr, /running/i);
    }
  });

  test('does its work to the end for a reader that has left', async () => {
    for (const [args, status] of [
      [['--help'], 0],
      [['doctor', '--json', '--data-dir', join(dir, 'data')], undefined],
      [['down'], 0],
      [['status', '--json'], 3],
    ] as const) {
      const env = { PATH: process.env.PATH ?? '', HOME: dir };
      const child = spawn(process.execPath, [bin, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
      child.stdout.destroy();
      const [said, [code, signal]] = await Promise.all([text(child.stderr), once(child, 'exit')]);
      assert.doesNotMatch(said, /EPIPE|node:/, args[0]);
      assert.equal(signal, null, args[0]);
      if (status !== undefined) assert.equal(code, status, args[0]);
    }
  });

  test('has nothing to do for `down` where there never was a server', async () => {
    const { code, stdout } = await skerry('down');
    assert.equal(code, 0);
    assert.match(stdout, /Nothing to do/);
  });

  test('names the port that is in use and how to choose another', async () => {
    const blocker = createServer();
    await new Promise<void>((resolve) => blocker.listen(0, '127.0.0.1', resolve));
    try {
      const address = blocker.address();
      assert.ok(address !== null && typeof address === 'object');
      const { code, stderr } = await skerry('up', '--port', String(address.port));
      assert.equal(code, 1);
      assert.match(stderr, new RegExp(`Port ${address.port} on 127\\.0\\.0\\.1 is in use.*--port`));
    } finally {
      await new Promise((resolve) => blocker.close(resolve));
    }
  });

  test('install takes the settings of `up`, and uninstall has nothing to do where nothing is installed', async () => {
    const value = await skerry('install', '--port', 'x');
    assert.deepEqual([value.code, value.stdout], [2, '']);
    const { code, stdout, stderr } = await skerry('uninstall');
    assert.deepEqual([code, stderr], [0, '']);
    assert.match(stdout, /Nothing to do/);
  });

  test('doctor says what to do under each thing that is missing', () => {
    const text = formatChecks([
      { name: 'runc', ok: false, required: true, found: 'not found', remedy: 'Install runc.' },
      { name: 'gVisor', ok: false, required: false, found: 'not found', remedy: 'Install gVisor.' },
      { name: 'root', ok: true, required: true, found: 'yes', remedy: 'Use sudo.' },
    ]);
    assert.match(text, /✗ runc .*not found\n.*→ Install runc\./);
    assert.match(text, /! gVisor .*\n.*→ Install gVisor\./);
    assert.doesNotMatch(text, /sudo/);
    assert.match(text, /Missing: runc\./);
  });
});
