import { Command } from 'commander';
import type { Sandbox } from '../../../sdk/src/index.ts';
import { WaitTimeoutError } from '../../../sdk/src/index.ts';
import {
  addConnectionOptions,
  connectionOf,
  findSandbox,
  told,
  whichSandbox,
} from '../sandboxes/connection.ts';
import { seconds } from '../sandboxes/create-options.ts';

const DEFAULT_PATIENCE_SECONDS = 10;

/** `skerry stop`: ends sandboxes, their main programs first asked to. */
export function stopCommand(): Command {
  const command = new Command('stop')
    .description('end sandboxes: a main program gets SIGTERM and some time, then all is killed')
    .argument('<sandbox...>', whichSandbox)
    .option('--time <time>', 'how long it may take: 90, 90s, 10m', seconds, DEFAULT_PATIENCE_SECONDS)
    .addHelpText('after', '\nExamples:\n  skerry stop my-sandbox\n  skerry stop --time 60s sb-…');
  return endingCommand(command, async (sandbox, { time }: { time: number }) => {
    if (sandbox.info.hasCommand && sandbox.info.status === 'running') {
      try {
        await sandbox.entrypoint.kill('SIGTERM');
        await sandbox.wait({ timeoutMs: time * 1000 });
      } catch (error) {
        if (!(error instanceof WaitTimeoutError)) throw error;
      }
    }
    await sandbox.terminate();
  });
}

/** `skerry rm`: the same at once. */
export function rmCommand(): Command {
  const command = new Command('rm')
    .description('end sandboxes at once, and remove all that is in them')
    .argument('<sandbox...>', whichSandbox)
    .addHelpText('after', '\nExamples:\n  skerry rm my-sandbox sb-…');
  return endingCommand(command, async (sandbox) => void (await sandbox.terminate()));
}

function endingCommand<Flags>(
  command: Command,
  end: (sandbox: Sandbox, flags: Flags) => Promise<void>,
): Command {
  command.option('--json', 'print one JSON object a line');
  return addConnectionOptions(command).action((which: string[], flags: Flags & { json?: boolean }) =>
    told(async () => {
      const connection = connectionOf(command);
      // All are known before the first one ends.
      const sandboxes = await Promise.all(which.map((each) => findSandbox(each, connection)));
      await Promise.all(
        sandboxes.map(async (sandbox) => {
          await end(sandbox, flags);
          const { id, info } = sandbox;
          const line = flags.json ? JSON.stringify({ id, result: info.result }) : id;
          process.stdout.write(`${line}\n`);
        }),
      );
    }),
  );
}
