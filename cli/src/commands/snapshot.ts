import { Command } from 'commander';
import { parseLifetimeSeconds } from '../option-values.ts';
import {
  addConnectionOptions,
  connectionOf,
  findSandbox,
  told,
  whichSandbox,
} from '../sandboxes/connection.ts';
import { sayIfSlow } from '../sandboxes/slow.ts';

interface SnapshotFlags {
  readonly path?: string;
  readonly expires?: number;
  readonly json?: boolean;
}

/** `skerry snapshot`: an image of the files of a sandbox. Its memory is `skerry checkpoint`'s. */
export function snapshotCommand(): Command {
  const command = new Command('snapshot')
    .description(
      'make an image of the files of a running sandbox, which goes on, and print its id for --image',
    )
    .argument('<sandbox>', whichSandbox)
    .option('--path <dir>', 'of that directory alone')
    .option('--expires <time>', 'the image is removed after so long: 90m, 12h, 30d', parseLifetimeSeconds)
    .option('--json', 'print one JSON object');
  return addConnectionOptions(command).action((which: string, { path, expires, json }: SnapshotFlags) =>
    told(async () => {
      const sandbox = await findSandbox(which, connectionOf(command));
      const options = {
        ...(path !== undefined && { path }),
        ...(expires !== undefined && { ttlSeconds: expires }),
      };
      const made = await sayIfSlow('copying the files', sandbox.snapshot(options));
      process.stdout.write(`${json ? JSON.stringify(made) : made.imageId}\n`);
    }),
  );
}
