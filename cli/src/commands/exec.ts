import { Command } from 'commander';
import { CliError, ExitStatus } from '../cli-error.ts';
import { attach, statusOf, terminalSize } from '../sandboxes/attach.ts';
import {
  addConnectionOptions,
  connectionOf,
  findSandbox,
  programOf,
  RUN_STATUS_HELP,
  RunStatus,
  told,
  whichSandbox,
} from '../sandboxes/connection.ts';
import { seconds, variables } from '../sandboxes/create-options.ts';

interface ExecFlags {
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly json?: boolean;
  readonly env: readonly string[];
  readonly workdir?: string;
  readonly timeout?: number;
}

/** `skerry exec`: a program in a sandbox that runs. */
export function execCommand(): Command {
  const command = new Command('exec')
    .description('run a program in a running sandbox; its input, output and exit status pass through')
    .argument('<sandbox>', whichSandbox)
    .argument('<command...>', 'the program and its arguments, after --')
    .passThroughOptions()
    .option('-i, --interactive', 'pass standard input on')
    .option('-t, --tty', 'give it a terminal')
    .option(
      '-e, --env <NAME=value>',
      'a variable; NAME alone takes it from here',
      (value: string, before: readonly string[]) => [...before, value],
      [],
    )
    .option('-w, --workdir <dir>', 'its working directory')
    .option('--timeout <time>', 'it is killed after so long: 90, 90s, 10m, 2h', seconds)
    .option('--json', 'print one JSON object: exitCode, timedOut, stdout, stderr')
    .addHelpText(
      'after',
      `${RUN_STATUS_HELP}

Examples:
  skerry exec my-sandbox -- ls -l /
  skerry exec -i my-sandbox -- tar xf - -C /data < data.tar
  skerry exec -it my-sandbox -- python3`,
    );
  return addConnectionOptions(command).action((which: string, argv: string[], flags: ExecFlags) =>
    told(async () => {
      if (flags.tty && !terminalSize()) throw new CliError('--tty needs a terminal.', ExitStatus.usage);
      const pty = flags.tty ? terminalSize() : undefined;
      const sandbox = await findSandbox(which, connectionOf(command));
      const input = flags.interactive === true || pty !== undefined;
      const program = sandbox.exec(programOf(argv), {
        stdin: input ? 'open' : undefined,
        env: variables(flags.env),
        cwd: flags.workdir,
        timeoutMs: flags.timeout === undefined ? undefined : flags.timeout * 1000,
        pty,
      });
      if (flags.json) {
        if (input) program.stdin.feed(process.stdin).catch(() => {}); // it may not read it
        const { exitCode, timedOut, stdout, stderr, signal } = await program;
        process.stdout.write(`${JSON.stringify({ exitCode, timedOut, stdout, stderr })}\n`);
        process.exitCode = statusOf({ exitCode, timedOut, signal });
        return;
      }
      process.exitCode = await attach(program, {
        input,
        terminal: pty !== undefined,
        onInsist: () => program.kill('SIGKILL'),
      });
    }, RunStatus.failed),
  );
}
