import { Command } from 'commander';
import { Sandbox, SandboxEndedError } from '../../../sdk/src/index.ts';
import { type App, listApps, stopApp } from '../apps.ts';
import { formatColumns } from '../columns.ts';
import { listing } from '../listing.ts';
import { printable } from '../printable.ts';
import { addConnectionOptions, connectionOf, type ServerAccess, told } from '../sandboxes/connection.ts';

interface Flags {
  readonly follow?: boolean;
  readonly json?: boolean;
}

const whichApp = 'its name or its id';

/** `skerry app`: what sandboxes are grouped under. */
export function appCommand(): Command {
  const group = new Command('app').description('list and stop apps, and what their sandboxes have written');

  const list = new Command('list')
    .description('list the apps, newest first; stopped ones for a day')
    .option('--json', 'print one JSON object a line');
  addConnectionOptions(list).action(({ json }: Flags) =>
    told(async () => {
      const apps = (await listApps(connectionOf(list))).map(shown);
      process.stdout.write(listing(apps, { json, none: 'There is no app.\n', table: formatApps }));
    }),
  );

  const stop = new Command('stop')
    .description('end all sandboxes of apps at once; a name is free for a new one then')
    .argument('<app...>', whichApp);
  addConnectionOptions(stop).action((names: string[]) =>
    told(async () => {
      for (const name of names) await stopApp(connectionOf(stop), name);
    }),
  );

  const logs = new Command('logs')
    .description(
      "what the main programs of an app's sandboxes have written, with the sandbox before each line",
    )
    .argument('<app>', whichApp)
    .option('-f, --follow', 'go on with what those that run write, and those that come')
    .option('--json', 'print one JSON object a line: sandboxId, stream, text');
  addConnectionOptions(logs).action((app: string, { follow, json }: Flags) =>
    told(() => (follow ? followLogs : showLogs)(app, connectionOf(logs), json)),
  );
  return group.addCommand(list).addCommand(stop).addCommand(logs);
}

const shown = ({ appId, nRunningTasks, createdAt, ...app }: App) => ({
  ...{ id: appId, name: app.name || app.description, state: app.state },
  ...{ sandboxes: nRunningTasks, createdAt: new Date(createdAt * 1000).toISOString() },
});

const formatApps = (apps: readonly ReturnType<typeof shown>[]): string =>
  formatColumns(
    [
      ['APP', 'NAME', 'STATE', 'CREATED', 'SANDBOXES'],
      ...apps.map(({ id, name, state, createdAt, sandboxes }) => [
        ...[id, printable(name) || '-', state, createdAt, String(sandboxes)],
      ]),
    ],
    4,
  );

async function showLogs(app: string, connection: ServerAccess, json: boolean | undefined): Promise<void> {
  const sandboxes = await Array.fromAsync(Sandbox.list({ ...connection, app, includeEnded: true }));
  for (const sandbox of sandboxes.reverse()) await print(sandbox, false, json);
}

async function followLogs(app: string, connection: ServerAccess, json: boolean | undefined): Promise<void> {
  const seen = new Set<string>();
  const failed = Promise.withResolvers<never>();
  const look = async () => {
    for await (const sandbox of Sandbox.list({ ...connection, app })) {
      if (seen.has(sandbox.id)) continue;
      seen.add(sandbox.id);
      void print(sandbox, true, json).catch(failed.reject);
    }
  };
  const lookAtEach = async () => {
    const events = Sandbox.events(connection);
    for (let next = events.next(); !process.stdout.destroyed; next = events.next()) {
      // Asked for the next event, it looks: whoever came before is seen, whoever comes later is told of.
      await look();
      await next;
    }
  };
  await Promise.race([failed.promise, lookAtEach()]);
}

/** Line by line: those of several sandboxes come side by side. */
async function print(sandbox: Sandbox, follow: boolean, json: boolean | undefined): Promise<void> {
  if (!sandbox.info.hasCommand) return;
  const { id, entrypoint } = sandbox;
  const streams = {
    stdout: { decoder: new TextDecoder(), rest: '' },
    stderr: { decoder: new TextDecoder(), rest: '' },
  };
  const say = (stream: 'stdout' | 'stderr', text: string) =>
    process.stdout.write(json ? `${JSON.stringify({ sandboxId: id, stream, text })}\n` : `${id}  ${text}\n`);
  try {
    for await (const { stream, bytes } of follow ? entrypoint : entrypoint.soFar()) {
      if (process.stdout.destroyed) return;
      const of = streams[stream];
      const lines = (of.rest + of.decoder.decode(bytes, { stream: true })).split('\n');
      of.rest = lines.pop() ?? '';
      for (const line of lines) say(stream, line);
    }
  } catch (error) {
    // Its end may have been another's than its program's: that is none of what it has written.
    if (!(error instanceof SandboxEndedError)) throw error;
  }
  for (const stream of ['stdout', 'stderr'] as const) {
    if (streams[stream].rest !== '') say(stream, streams[stream].rest);
  }
}
