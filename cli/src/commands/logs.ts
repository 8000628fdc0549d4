import { Command } from 'commander';
import {
  addConnectionOptions,
  connectionOf,
  findSandbox,
  told,
  whichSandbox,
} from '../sandboxes/connection.ts';

/** `skerry logs`: what the main program of a sandbox has written. */
export function logsCommand(): Command {
  const command = new Command('logs')
    .description("what a sandbox's main program has written, also after its end (by id)")
    .argument('<sandbox>', whichSandbox)
    .option('-f, --follow', 'go on with what it writes, until it ends')
    .option('--json', 'print one JSON object a piece: stream, text')
    .addHelpText('after', '\nExamples:\n  skerry logs my-sandbox\n  skerry logs -f sb-…');
  return addConnectionOptions(command).action((which: string, flags: { follow?: boolean; json?: boolean }) =>
    told(async () => {
      const { entrypoint } = await findSandbox(which, connectionOf(command));
      const decoders = { stdout: new TextDecoder(), stderr: new TextDecoder() };
      for await (const { stream, bytes } of flags.follow ? entrypoint : entrypoint.soFar()) {
        if (process[stream].destroyed) return;
        const text = () => decoders[stream].decode(bytes, { stream: true });
        process[flags.json ? 'stdout' : stream].write(
          flags.json ? `${JSON.stringify({ stream, text: text() })}\n` : bytes,
        );
      }
    }),
  );
}
