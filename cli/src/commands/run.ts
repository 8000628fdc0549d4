import { Command } from 'commander';
import { Sandbox } from '../../../sdk/src/index.ts';
import { CliError, ExitStatus } from '../cli-error.ts';
import { attach, statusOf, terminalSize } from '../sandboxes/attach.ts';
import {
  addConnectionOptions,
  connectionOf,
  programOf,
  RUN_STATUS_HELP,
  RunStatus,
  told,
} from '../sandboxes/connection.ts';
import { addCreateOptions, type CreateFlags, createOptions } from '../sandboxes/create-options.ts';
import { sayIfSlow } from '../sandboxes/slow.ts';

interface RunFlags extends CreateFlags {
  readonly interactive?: boolean;
  readonly tty?: boolean;
  readonly detach?: boolean;
  readonly json?: boolean;
}

/** `skerry run`: one program in a sandbox of its own, which ends with it. */
export function runCommand(): Command {
  const command = new Command('run')
    .description(
      'run a program in a new sandbox, which ends with it; its input, output and exit status pass through',
    )
    .argument('<command...>', 'the program and its arguments, after --')
    .passThroughOptions()
    .option('-i, --interactive', 'pass what is typed here on; what is piped in always is')
    .option('-t, --tty', 'give it a terminal')
    .option('-d, --detach', 'print the id and leave it running: skerry logs, skerry stop')
    .option('--json', 'print one JSON object: sandboxId, exitCode, timedOut, stdout, stderr')
    .addHelpText(
      'after',
      `${RUN_STATUS_HELP}

Examples:
  skerry run --python 3.12 -- python3 -c 'print(6 * 7)'
  echo hello | skerry run --image debian:bookworm-slim -- tr a-z A-Z
  skerry run --net none --memory 256 --timeout 30s -- sh -c 'id; ls /'
  skerry run --volume data:/data -- sh -c 'date >> /data/log'
  skerry run -it --python 3.12 -- python3`,
    );
  addCreateOptions(command);
  return addConnectionOptions(command).action((argv: string[], flags: RunFlags) =>
    told(async () => {
      if (flags.tty && !terminalSize()) throw new CliError('--tty needs a terminal.', ExitStatus.usage);
      const pty = flags.tty ? terminalSize() : undefined;
      const connection = connectionOf(command);
      const giveUp = new AbortController();
      const interrupt = () => giveUp.abort(new Error('interrupted'));
      process.once('SIGINT', interrupt);
      const create = Sandbox.create({
        ...createOptions(flags),
        ...connection,
        command: [...programOf(argv)],
        pty,
        signal: giveUp.signal,
      });
      const sandbox = await sayIfSlow('preparing the image and the sandbox', create);
      process.off('SIGINT', interrupt);
      if (flags.detach) {
        process.stdout.write(
          flags.json ? `${JSON.stringify({ sandboxId: sandbox.id })}\n` : `${sandbox.id}\n`,
        );
        return;
      }
      const program = sandbox.entrypoint;
      if (flags.json) {
        if (process.stdin.isTTY) await program.stdin.end();
        else program.stdin.feed(process.stdin).catch(() => {}); // it may not read it
        const { stdout, stderr, ...exit } = await program;
        const { exitCode, timedOut } = exit;
        process.stdout.write(
          `${JSON.stringify({ sandboxId: sandbox.id, exitCode, timedOut, stdout, stderr })}\n`,
        );
        process.exitCode = statusOf(exit);
      } else {
        process.exitCode = await attach(program, {
          input: !process.stdin.isTTY || flags.interactive === true || pty !== undefined,
          terminal: pty !== undefined,
          onInsist: () => sandbox.terminate(),
        });
      }
      // The next command may ask for the same, which this one has until nothing of it is left.
      if (flags.gpu !== undefined) await sandbox.wait();
    }, RunStatus.failed),
  );
}
