import { Command } from 'commander';
import { type Process, SandboxEndedError } from '../../../sdk/src/index.ts';
import {
  addConnectionOptions,
  connectionOf,
  findSandboxOrLast,
  told,
  whichSandboxOrLast,
} from '../sandboxes/connection.ts';

interface LogsFlags {
  readonly follow?: boolean;
  readonly json?: boolean;
}

/** `skerry logs`: what the main program of a sandbox has written. */
export function logsCommand(): Command {
  const command = new Command('logs')
    .description("what a sandbox's main program has written, also after its end for as long as it is kept")
    .argument('<sandbox>', whichSandboxOrLast)
    .option('-f, --follow', 'go on with what it writes, until it ends')
    .option('--json', 'print one JSON object a piece: stream, text')
    .addHelpText('after', '\nExamples:\n  skerry logs my-sandbox\n  skerry logs -f sb-…');
  return addConnectionOptions(command).action((which: string, flags: LogsFlags) =>
    told(async () => {
      const { entrypoint } = await findSandboxOrLast(which, connectionOf(command));
      try {
        await show(entrypoint, flags);
      } catch (error) {
        // It is what one waits for here, however it came.
        if (!(error instanceof SandboxEndedError)) throw error;
        process.stderr.write(`skerry: ${error.message}\n`);
      }
    }),
  );
}

async function show(program: Process, { follow, json }: LogsFlags): Promise<void> {
  const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
  for await (const { stream, bytes } of follow ? program : program.soFar()) {
    if (process[stream].destroyed) return;
    const text = () => decoders[stream].decode(bytes, { stream: true });
    process[json ? 'stdout' : stream].write(json ? `${JSON.stringify({ stream, text: text() })}\n` : bytes);
  }
}
