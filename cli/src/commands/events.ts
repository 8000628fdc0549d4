import { setTimeout as delay } from 'node:timers/promises';
import { Command } from 'commander';
import { type LifeEvent, Sandbox, type SandboxEvent, type SandboxInfo } from '../../../sdk/src/index.ts';
import { printable } from '../printable.ts';
import {
  addConnectionOptions,
  connectionOf,
  findSandboxOrLast,
  told,
  whichSandboxOrLast,
} from '../sandboxes/connection.ts';

/** What is noted of a sandbox is not told as it happens, so it is looked at again. */
const LOOK_AGAIN_MS = 1000;

interface EventsFlags {
  readonly follow?: boolean;
  readonly json?: boolean;
}

/** `skerry events`: what happens to all sandboxes, or happened to one. */
export function eventsCommand(): Command {
  const command = new Command('events')
    .description(
      'show what happens to sandboxes from now on, or what happened to one: its start and end, bounds that were hit, what it reached',
    )
    .argument('[sandbox]', whichSandboxOrLast)
    .option('-f, --follow', 'of one: go on until it has ended')
    .option('--json', 'print one JSON object a line');
  return addConnectionOptions(command).action((which: string | undefined, { follow, json }: EventsFlags) =>
    told(async () => {
      const connection = connectionOf(command);
      if (which !== undefined)
        return showHistory(await findSandboxOrLast(which, connection), follow === true, json);
      for await (const event of Sandbox.events(connection)) {
        if (process.stdout.destroyed) return;
        process.stdout.write(json ? `${JSON.stringify(event)}\n` : describe(event));
      }
    }),
  );
}

async function showHistory(sandbox: Sandbox, follow: boolean, json: boolean | undefined): Promise<void> {
  const shown = new Set<string>();
  for (;;) {
    const info = follow ? await sandbox.refresh() : sandbox.info;
    const notes = await sandbox.events(); // asked after its state: what is noted of its end is there by then
    for (const each of [...notes, ...milestones(info)].sort(byTime)) {
      const line = json ? `${JSON.stringify({ sandboxId: sandbox.id, ...each })}\n` : describeNote(each);
      if (!shown.has(line)) process.stdout.write(line);
      shown.add(line);
    }
    if (!follow || info.status === 'ended' || process.stdout.destroyed) return;
    await delay(LOOK_AGAIN_MS);
  }
}

function milestones({ createdAt, startedAt, endedAt, result }: SandboxInfo): readonly SandboxEvent[] {
  const { reason, exitCode, message } = result ?? {};
  const how = [reason, exitCode === null ? undefined : `exit status ${exitCode}`, message];
  const life = (time: string, text: string) => ({ time, kind: 'life' as const, text });
  return [
    life(createdAt, 'created'),
    ...(startedAt === null ? [] : [life(startedAt, 'running')]),
    ...(endedAt === null ? [] : [life(endedAt, `ended: ${how.filter(Boolean).join(', ')}`)]),
  ];
}

const byTime = (one: SandboxEvent, other: SandboxEvent) => Date.parse(one.time) - Date.parse(other.time);

const describe = ({ time, sandboxId, kind, reason }: LifeEvent): string =>
  `${time}  ${sandboxId}  ${kind}${reason === null ? '' : `  ${reason}`}\n`;

const describeNote = ({ time, kind, text }: SandboxEvent): string =>
  `${time}  ${kind.padEnd(7)}  ${printable(text)}\n`;
