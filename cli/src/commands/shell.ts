import { Command } from 'commander';
import { Sandbox } from '../../../sdk/src/index.ts';
import { attach, terminalSize } from '../sandboxes/attach.ts';
import {
  addConnectionOptions,
  connectionOf,
  findSandbox,
  RUN_STATUS_HELP,
  RunStatus,
  told,
  whichSandbox,
} from '../sandboxes/connection.ts';
import { addCreateOptions, type CreateFlags, createOptions } from '../sandboxes/create-options.ts';
import { sayIfSlow } from '../sandboxes/slow.ts';

/** Bash where the image has it. */
const SHELL = ['/bin/sh', '-c', 'if command -v bash >/dev/null; then exec bash -l; else exec sh -l; fi'];

/** `skerry shell`: a shell in a sandbox. */
export function shellCommand(): Command {
  const command = new Command('shell')
    .description('a shell in a running sandbox, or in a new one that ends with it')
    .argument('[sandbox]', `${whichSandbox}; none: a new one, with the options below`)
    .addHelpText(
      'after',
      `${RUN_STATUS_HELP}

Examples:
  skerry shell my-sandbox
  skerry shell --python 3.12 --volume data:/data`,
    );
  addCreateOptions(command);
  return addConnectionOptions(command).action((which: string | undefined, flags: CreateFlags) =>
    told(async () => {
      const connection = connectionOf(command);
      await using last = new AsyncDisposableStack();
      const sandbox =
        which === undefined
          ? last.use(
              await sayIfSlow(
                'preparing the image and the sandbox',
                Sandbox.create({ ...createOptions(flags), ...connection }),
              ),
            )
          : await findSandbox(which, connection);
      const pty = terminalSize();
      const program = sandbox.exec(SHELL, { stdin: 'open', pty });
      process.exitCode = await attach(program, {
        input: true,
        terminal: pty !== undefined,
        onInsist: () => program.kill('SIGKILL'),
      });
    }, RunStatus.failed),
  );
}
