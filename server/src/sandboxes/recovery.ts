/** What a server makes of the sandboxes that an earlier one left: each is told what was found of it, and goes on from there as its life says. */
import type { Instance, IsLeft } from '../engines/engine.ts';
import type { MemberId, SandboxId } from '../ids.ts';
import type { InstanceService } from '../instances/instance-service.ts';
import type { KeptValues } from '../platform/kept-values.ts';
import type { Ledger } from '../platform/ledger.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { VolumeMounts } from '../volumes/volume-mounts.ts';
import type { LiveSandbox } from './live-sandbox.ts';
import type { SandboxRepository, SandboxRow } from './repositories.ts';

export interface RecoveryParts {
  /** Those that are this server's to go on with. */
  readonly rows: readonly SandboxRow[];
  /** Those of another server that is gone, while this one runs; undefined: this one starts. */
  readonly goneMember?: MemberId;
  /** @see InstanceService.adopt */
  readonly of: IsLeft;
  readonly repository: SandboxRepository;
  readonly settings: KeptValues<'boot-id'>;
  readonly instances: InstanceService;
  readonly volumes: Pick<VolumeMounts, 'recover' | 'detach' | 'follow'>;
  readonly ledger: Ledger;
  readonly logger: Logger;
  readonly now: () => number;
  /** Which boot of the machine this is: what ran in an earlier one was ended by the reboot. */
  readonly bootId: string;
  /** Makes a sandbox of a row and what is left running of it; it can be asked for from then on. */
  readonly add: (row: SandboxRow, left: Instance | undefined) => LiveSandbox;
}

/** Takes over what still lives and ends or starts again what does not. Returns when all are added and told; they go on by themselves. */
export async function recoverSandboxes(parts: RecoveryParts): Promise<void> {
  const { rows, goneMember, settings, ledger, bootId, now, add } = parts;
  const lastBootId = goneMember === undefined ? settings.get('boot-id') : bootId;
  const fate =
    lastBootId === undefined || lastBootId === bootId
      ? 'Its processes were gone when the server came back.'
      : 'The machine was rebooted while it ran.';
  const instances = await parts.instances.adopt(
    new Set(rows.flatMap(({ instance }) => instance ?? [])),
    parts.of,
  );
  const live = rows.filter(({ instance }) => instance !== undefined && instances.has(instance));
  for (const { id: sandbox, taskId, instance } of live) {
    const copies = instance && instances.get(instance)?.copies;
    if (copies)
      parts.volumes.follow(taskId, copies).catch((err: unknown) => {
        parts.logger.error({ sandbox, err }, 'sandbox.volumes-not-shown');
      });
  }
  // Goes on by itself: whoever looks at a volume waits for what is to come into it. Other servers keep no sandboxes with volumes.
  if (goneMember === undefined) void parts.volumes.recover(new Set(live.map(({ taskId }) => taskId)));
  // All are known before the first one's fate is decided: a sandbox that is gone must find its sidecars.
  const known = new Map<SandboxId, { sandbox: LiveSandbox; instance: boolean }>();
  for (const row of rows) {
    const left = row.instance && instances.get(row.instance);
    if (row.spec.sidecarOf && !known.has(row.spec.sidecarOf.sandboxId)) endOrphan(row, left, parts);
    else known.set(row.id, { sandbox: add(row, left), instance: left !== undefined });
  }
  for (const { sandbox, instance } of known.values()) {
    sandbox.tell({ kind: 'found', instance, fate, atMs: now() });
  }
  // What was gone has its result in the store by now: a server that starts after this one need not know of the reboot.
  if (lastBootId !== bootId) ledger.tell('boot-id', () => settings.set('boot-id', bootId));
}

/** For a data directory whose engine was emptied: says so in the store. */
export function markAllTerminated(repository: SandboxRepository, nowMs: number): void {
  for (const row of repository.live()) storeTerminated(repository, row, nowMs);
}

/** A sidecar whose sandbox's end was stored while its own was not. */
function endOrphan(
  row: SandboxRow,
  left: Instance | undefined,
  { repository, instances, volumes, ledger, logger, now }: RecoveryParts,
): void {
  if (left) {
    instances
      .destroy(left.id)
      .then(() => volumes.detach(row.taskId, true))
      .catch((err: unknown) => logger.error({ task: row.taskId, err }, 'sidecar.destroy-failed'));
  }
  const atMs = now();
  ledger.tell(`sandbox ${row.id}`, () => storeTerminated(repository, row, atMs));
}

function storeTerminated(repository: SandboxRepository, row: SandboxRow, atMs: number): void {
  const entry = { kind: 'ended', result: { kind: 'terminated' }, timeMs: atMs } as const;
  const life = { ...row, instance: undefined, state: entry.kind, result: entry.result, endedAtMs: atMs };
  repository.update(row, life, [entry]);
}
