/** Rows of sandboxes: what must survive the server. Times are milliseconds since the epoch. */
import { z } from 'zod';
import type {
  AppId,
  EnvironmentId,
  ImageId,
  MountId,
  ProcessId,
  SandboxId,
  SecretId,
  TaskId,
} from '../ids.ts';
import type { SandboxLogEntry } from '../sandboxes/sandboxes.ts';
import type { SandboxSpec } from '../sandboxes/spec.ts';
import type { SandboxResult, SandboxState } from '../sandboxes/state.ts';
import { type Database, transaction } from './database.ts';

export interface SandboxRow {
  readonly id: SandboxId;
  readonly taskId: TaskId;
  readonly spec: SandboxSpec;
  readonly name: string | undefined;
  readonly tags: Readonly<Record<string, string>>;
  readonly state: SandboxState;
  /** The environment of its processes, sealed; gone once it ended. */
  readonly sealedEnv: Uint8Array | undefined;
  readonly result: SandboxResult | undefined;
  readonly createdAtMs: number;
  readonly startedAtMs: number | undefined;
  readonly endedAtMs: number | undefined;
  readonly deadlineMs: number | undefined;
  readonly readyAtMs: number | undefined;
}

export interface SandboxQuery {
  readonly appId?: AppId | undefined;
  readonly environmentId?: EnvironmentId | undefined;
  readonly tags?: Readonly<Record<string, string>> | undefined;
  readonly includeEnded?: boolean | undefined;
  readonly beforeMs?: number | undefined;
  readonly limit: number;
}

const rowSchema = z.object({
  id: z.string(),
  task_id: z.string(),
  app_id: z.string(),
  environment_id: z.string(),
  image_id: z.string(),
  name: z.string().nullable(),
  tags: z.string(),
  state: z.enum(['created', 'starting', 'running', 'stopping', 'ended']),
  spec: z.string(),
  env_ciphertext: z.instanceof(Uint8Array).nullable(),
  result: z.string().nullable(),
  created_at_ms: z.number(),
  started_at_ms: z.number().nullable(),
  ended_at_ms: z.number().nullable(),
  deadline_ms: z.number().nullable(),
  ready_at_ms: z.number().nullable(),
});

/** The part of a spec that has no column of its own. Inline secret values are left out: they are in the sealed environment. */
type StoredSpec = Omit<
  SandboxSpec,
  'appId' | 'environmentId' | 'imageId' | 'name' | 'tags' | 'externalKey' | 'secretSources' | 'mountIds'
> & {
  readonly secretIds: readonly SecretId[];
  readonly mountIds: readonly MountId[];
  readonly externalKey: string | null;
};

function toRow(raw: unknown): SandboxRow {
  const row = rowSchema.parse(raw);
  // Written by insert() below and by nothing else, so the shape is known.
  const stored = JSON.parse(row.spec) as StoredSpec;
  const { secretIds, externalKey, ...rest } = stored;
  const tags = JSON.parse(row.tags) as Record<string, string>;
  const name = row.name ?? undefined;
  return {
    id: row.id as SandboxId,
    taskId: row.task_id as TaskId,
    spec: {
      ...rest,
      workdir: rest.workdir,
      idleTimeoutMs: rest.idleTimeoutMs,
      runtime: rest.runtime,
      pty: rest.pty,
      readinessProbe: rest.readinessProbe,
      secretSources: secretIds.map((id) => ({ kind: 'stored', id })),
      externalKey: externalKey ?? undefined,
      appId: row.app_id as AppId,
      environmentId: row.environment_id as EnvironmentId,
      imageId: row.image_id as ImageId,
      name,
      tags,
    },
    name,
    tags,
    state: row.state,
    sealedEnv: row.env_ciphertext ?? undefined,
    result: row.result === null ? undefined : (JSON.parse(row.result) as SandboxResult),
    createdAtMs: row.created_at_ms,
    startedAtMs: row.started_at_ms ?? undefined,
    endedAtMs: row.ended_at_ms ?? undefined,
    deadlineMs: row.deadline_ms ?? undefined,
    readyAtMs: row.ready_at_ms ?? undefined,
  };
}

export class SandboxRepository {
  readonly #database: Database;
  readonly #insert;
  readonly #byId;
  readonly #byTask;
  readonly #byRequestKey;
  readonly #live;
  readonly #endedBefore;
  readonly #update;
  readonly #setName;
  readonly #setTags;
  readonly #setReady;
  readonly #liveByKey;
  readonly #newest;
  readonly #sidecars;
  readonly #sidecarWithProcess;
  readonly #addEvent;
  readonly #events;

  constructor(database: Database) {
    this.#database = database;
    this.#insert = database.prepare(
      `INSERT INTO sandboxes (id, task_id, app_id, environment_id, image_id, name, tags, state, spec, env_ciphertext, created_at_ms, external_key, request_key)
       VALUES (?, ?, ?, ?, ?, ?, ?, 'created', ?, ?, ?, ?, ?)`,
    );
    this.#byId = database.prepare('SELECT * FROM sandboxes WHERE id = ?');
    this.#byTask = database.prepare('SELECT * FROM sandboxes WHERE task_id = ?');
    this.#byRequestKey = database.prepare('SELECT * FROM sandboxes WHERE request_key = ?');
    this.#live = database.prepare("SELECT * FROM sandboxes WHERE state != 'ended' ORDER BY created_at_ms");
    this.#endedBefore = database.prepare(
      "SELECT * FROM sandboxes WHERE state = 'ended' AND ended_at_ms < ? ORDER BY ended_at_ms LIMIT 100",
    );
    this.#update = database.prepare(
      `UPDATE sandboxes SET state = ?, result = ?, started_at_ms = ?, ended_at_ms = ?, deadline_ms = ?,
       env_ciphertext = CASE WHEN ?1 = 'ended' THEN NULL ELSE env_ciphertext END WHERE id = ?6`,
    );
    this.#setName = database.prepare('UPDATE sandboxes SET name = ? WHERE id = ?');
    this.#setTags = database.prepare('UPDATE sandboxes SET tags = ? WHERE id = ?');
    this.#setReady = database.prepare('UPDATE sandboxes SET ready_at_ms = ? WHERE id = ?');
    this.#liveByKey = database.prepare(
      "SELECT id FROM sandboxes WHERE external_key = ? AND state != 'ended'",
    );
    this.#newest = database.prepare('SELECT max(created_at_ms) AS newest FROM sandboxes');
    this.#sidecars = database.prepare(
      'SELECT * FROM sandboxes WHERE host_id = ? ORDER BY created_at_ms DESC LIMIT 1000',
    );
    this.#sidecarWithProcess = database.prepare(
      'SELECT sandboxes.* FROM sandboxes JOIN processes USING (task_id) WHERE host_id = ? AND processes.id = ?',
    );
    this.#addEvent = database.prepare(
      'INSERT INTO sandbox_events (task_id, time_ms, kind, text) VALUES (?, ?, ?, ?)',
    );
    this.#events = database.prepare(
      'SELECT time_ms, kind, text FROM sandbox_events WHERE task_id = ? ORDER BY time_ms, rowid LIMIT 10000',
    );
  }

  /** @throws Error with `errcode` 2067 (SQLite unique constraint) when the name or external key is taken */
  insert(row: {
    id: SandboxId;
    taskId: TaskId;
    spec: SandboxSpec;
    sealedEnv: Uint8Array;
    createdAtMs: number;
    requestKey: string | undefined;
  }): void {
    const { appId, environmentId, imageId, name, tags, externalKey, secretSources, ...rest } = row.spec;
    const secretIds = secretSources.flatMap((source) => (source.kind === 'stored' ? [source.id] : []));
    const spec = JSON.stringify({ ...rest, secretIds, externalKey: externalKey ?? null });
    this.#insert.run(
      row.id,
      row.taskId,
      appId,
      environmentId,
      imageId,
      name ?? null,
      JSON.stringify(tags),
      spec,
      row.sealedEnv,
      row.createdAtMs,
      externalKey ?? null,
      row.requestKey ?? null,
    );
  }

  get(id: SandboxId): SandboxRow | undefined {
    const row = this.#byId.get(id);
    return row && toRow(row);
  }

  getByTask(id: TaskId): SandboxRow | undefined {
    const row = this.#byTask.get(id);
    return row && toRow(row);
  }

  live(): SandboxRow[] {
    return this.#live.all().map(toRow);
  }

  /** Ended sandboxes whose end lies before `beforeMs`, some at a time. */
  endedBefore(beforeMs: number): SandboxRow[] {
    return this.#endedBefore.all(beforeMs).map(toRow);
  }

  /** Forgets an ended sandbox with all its processes and log lines. */
  delete({ id, taskId }: Pick<SandboxRow, 'id' | 'taskId'>): void {
    transaction(this.#database, () => {
      for (const table of ['processes', 'sandbox_events']) {
        this.#database.prepare(`DELETE FROM ${table} WHERE task_id = ?`).run(taskId);
      }
      this.#database.prepare('DELETE FROM sandboxes WHERE id = ?').run(id);
    });
  }

  liveIdByExternalKey(key: string): SandboxId | undefined {
    // Rows of this table hold ids that came from newSandboxId().
    return this.#liveByKey.get(key)?.id as SandboxId | undefined;
  }

  /** What the request of that key made, running or ended. */
  getByRequestKey(key: string): SandboxRow | undefined {
    const row = this.#byRequestKey.get(key);
    return row && toRow(row);
  }

  /** The sidecars of a sandbox, ended ones included, newest first, at most 1000. */
  sidecars(hostId: SandboxId): SandboxRow[] {
    return this.#sidecars.all(hostId).map(toRow);
  }

  /** The sidecar of a sandbox that has or had a process of that id. */
  sidecarWithProcess(hostId: SandboxId, processId: ProcessId): SandboxRow | undefined {
    const row = this.#sidecarWithProcess.get(hostId, processId);
    return row && toRow(row);
  }

  /** Creation time of the newest sandbox, so that new ones sort strictly after it. */
  newestCreatedAtMs(): number {
    return Number(this.#newest.get()?.newest ?? 0);
  }

  find(appId: AppId, name: string, includeEnded: boolean): SandboxRow | undefined {
    const row = this.#database
      .prepare(
        `SELECT * FROM sandboxes WHERE app_id = ? AND name = ? ${includeEnded ? '' : "AND state != 'ended'"} ORDER BY created_at_ms DESC LIMIT 1`,
      )
      .get(appId, name);
    return row && toRow(row);
  }

  /** Without sidecars. */
  list(query: SandboxQuery): SandboxRow[] {
    const where: string[] = ['host_id IS NULL'];
    const values: (string | number)[] = [];
    const add = (condition: string, ...bound: (string | number)[]) => {
      where.push(condition);
      values.push(...bound);
    };
    if (query.appId) add('app_id = ?', query.appId);
    if (query.environmentId) add('environment_id = ?', query.environmentId);
    if (!query.includeEnded) add("state != 'ended'");
    if (query.beforeMs !== undefined) add('created_at_ms < ?', query.beforeMs);
    for (const [key, value] of Object.entries(query.tags ?? {})) {
      add(
        'EXISTS (SELECT 1 FROM json_each(sandboxes.tags) AS tag WHERE tag.key = ? AND tag.value = ?)',
        key,
        value,
      );
    }
    return this.#database
      .prepare(`SELECT * FROM sandboxes WHERE ${where.join(' AND ')} ORDER BY created_at_ms DESC LIMIT ?`)
      .all(...values, query.limit)
      .map(toRow);
  }

  /** One edge of the state machine: one row update. */
  update(
    row: Pick<SandboxRow, 'id' | 'state' | 'result' | 'startedAtMs' | 'endedAtMs' | 'deadlineMs'>,
  ): void {
    this.#update.run(
      row.state,
      row.result ? JSON.stringify(row.result) : null,
      row.startedAtMs ?? null,
      row.endedAtMs ?? null,
      row.deadlineMs ?? null,
      row.id,
    );
  }

  /** @throws like insert() */
  setName(id: SandboxId, name: string): void {
    this.#setName.run(name, id);
  }

  setTags(id: SandboxId, tags: Readonly<Record<string, string>>): void {
    this.#setTags.run(JSON.stringify(tags), id);
  }

  setReadyAt(id: SandboxId, readyAtMs: number): void {
    this.#setReady.run(readyAtMs, id);
  }

  addEvent(taskId: TaskId, entry: SandboxLogEntry): void {
    this.#addEvent.run(taskId, entry.timeMs, entry.kind, entry.text);
  }

  events(taskId: TaskId): SandboxLogEntry[] {
    return this.#events.all(taskId).map((row) => ({
      timeMs: Number(row.time_ms),
      kind: row.kind as SandboxLogEntry['kind'], // written by addEvent() only
      text: String(row.text),
    }));
  }
}

/** True for the error SQLite raises when a unique index refuses a row. */
export function isUniqueViolation(error: unknown): boolean {
  return (error as { errcode?: number } | null)?.errcode === 2067;
}
