import { Command } from 'commander';
import * as z from 'zod/mini';
import { listApps } from '../apps.ts';
import { formatColumns } from '../columns.ts';
import { callControlPlane } from '../control-plane.ts';
import { printable } from '../printable.ts';
import { addConnectionOptions, connectionOf } from '../sandboxes/connection.ts';

const sandboxSchema = z.object({
  id: z.string(),
  /** Seconds since the epoch. */
  createdAt: z.number(),
  appId: z._default(z.string(), ''),
  name: z._default(z.string(), ''),
  imageId: z._default(z.string(), ''),
  tags: z._default(z.array(z.object({ tagName: z.string(), tagValue: z._default(z.string(), '') })), []),
});
const pageSchema = z.object({ sandboxes: z._default(z.array(sandboxSchema), []) });

interface Listed extends z.infer<typeof sandboxSchema> {
  readonly app: string;
  /** `gvisor`, `runc`, or `-` for one that has ended since. */
  readonly isolation: string;
  /** `running`, `suspended` and so on. */
  readonly state: string;
}

/** `skerry ls`: the sandboxes that run, whoever made them. */
export function lsCommand(): Command {
  const command = new Command('ls')
    .description('list the running and suspended sandboxes, newest first, whichever client made them')
    .option('--json', 'print one JSON object a line');
  return addConnectionOptions(command).action(async (options: { json?: boolean }) => {
    const server = connectionOf(command);
    const appNames = new Map((await listApps(server)).map((app) => [app.appId, app.name || app.description]));
    const sandboxes: Listed[] = [];
    for (let beforeTimestamp = 0; ; ) {
      let isolations: string[] = [];
      let states: string[] = [];
      const page = await callControlPlane(
        server,
        'SandboxListV2',
        { beforeTimestamp },
        pageSchema,
        (headers) => {
          isolations = headers.get('x-skerry-isolation')?.split(',') ?? [];
          states = headers.get('x-skerry-state')?.split(',') ?? [];
        },
      );
      const last = page.sandboxes.at(-1);
      if (!last) break;
      sandboxes.push(
        ...page.sandboxes.map((each, index) => ({
          ...each,
          app: appNames.get(each.appId) ?? each.appId,
          isolation: isolations[index]?.trim() || '-',
          state: states[index]?.trim() || '-',
        })),
      );
      beforeTimestamp = last.createdAt;
    }
    process.stdout.write(options.json ? formatJson(sandboxes) : formatTable(sandboxes));
  });
}

const tagsOf = ({ tags }: Listed) => tags.map(({ tagName, tagValue }) => `${tagName}=${tagValue}`);
const createdOf = ({ createdAt }: Listed) => new Date(createdAt * 1000).toISOString();

function formatJson(sandboxes: readonly Listed[]): string {
  return sandboxes
    .map((each) => {
      const { id, name, app, appId, imageId, isolation, state } = each;
      const tags = Object.fromEntries(each.tags.map(({ tagName, tagValue }) => [tagName, tagValue]));
      return `${JSON.stringify({ id, name, app, appId, imageId, isolation, state, createdAt: createdOf(each), tags })}\n`;
    })
    .join('');
}

/** Names and tags are the callers' own: control characters in them are escaped. */
export function formatTable(sandboxes: readonly Listed[]): string {
  if (sandboxes.length === 0) return 'No sandbox is running.\n';
  const rows = [
    ['SANDBOX', 'NAME', 'APP', 'STATE', 'ISOLATION', 'CREATED', 'TAGS'],
    ...sandboxes.map((each) => [
      each.id,
      each.name || '-',
      each.app,
      each.state,
      each.isolation,
      createdOf(each),
      tagsOf(each).join(' '),
    ]),
  ];
  return formatColumns(rows.map((row) => row.map(printable)));
}
