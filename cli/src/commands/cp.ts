import { Command } from 'commander';
import { CliError, ExitStatus } from '../cli-error.ts';
import { addConnectionOptions, connectionOf, findSandbox, told } from '../sandboxes/connection.ts';
import { download, upload } from '../sandboxes/copy.ts';

/** `skerry cp`: files and directories, into a sandbox and out of it. */
export function cpCommand(): Command {
  const command = new Command('cp')
    .description('copy files and directories into a sandbox, or out of it')
    .argument('<from>', 'a path here, or sandbox:/path')
    .argument('<to>', 'likewise; what is copied goes into a directory that is there')
    .addHelpText(
      'after',
      `
Links are copied as links; permissions are kept, owners and times are not.

Examples:
  skerry cp data.csv my-sandbox:/data/
  skerry cp ./project my-sandbox:/work
  skerry cp my-sandbox:/work/results .`,
    );
  return addConnectionOptions(command).action((from: string, to: string) =>
    told(async () => {
      const [source, target] = [place(from), place(to)];
      if ((source.sandbox === undefined) === (target.sandbox === undefined)) {
        throw new CliError(
          'One of both must be in a sandbox, as sandbox:/path, and the other here.',
          ExitStatus.usage,
        );
      }
      const connection = connectionOf(command);
      if (source.sandbox !== undefined) {
        const { files } = await findSandbox(source.sandbox, connection);
        await download(files, source.path, target.path);
      } else if (target.sandbox !== undefined) {
        await upload(await findSandbox(target.sandbox, connection), source.path, target.path);
      }
    }),
  );
}

/** A path with a colon in it that is here is written as ./a:b. */
function place(text: string): { readonly sandbox?: string; readonly path: string } {
  const [, sandbox, path] = /^([\w.-]+):(.*)$/s.exec(text) ?? [];
  if (sandbox === undefined || path === undefined) return { path: text };
  if (!path.startsWith('/'))
    throw new CliError(`${text}: a path in a sandbox is absolute.`, ExitStatus.usage);
  return { sandbox, path };
}
