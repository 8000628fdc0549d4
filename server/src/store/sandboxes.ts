/** Rows of sandboxes and of what Skerry says about them. */
import type { AppId, MemberId, ProcessId, SandboxId, TaskId } from '../ids.ts';
import type { ExitSnapshot } from '../sandboxes/exit-snapshot.ts';
import type { StoredLife } from '../sandboxes/life.ts';
import type { Entry } from '../sandboxes/life-log.ts';
import {
  type NewSandboxRow,
  type SandboxRepository,
  type SandboxRow,
  UniqueViolation,
} from '../sandboxes/repositories.ts';
import type { SandboxFilter, SandboxLogEntry } from '../sandboxes/sandboxes.ts';
import type { SandboxResult } from '../sandboxes/state.ts';
import { type Database, isUniqueViolation, transaction } from './database.ts';
import { SANDBOX_COLUMNS, storedSpec, toRow } from './sandbox-rows.ts';

export class SqlSandboxes implements SandboxRepository {
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
  readonly #setExitSnapshot;
  readonly #takeBack;
  readonly #noteHeard;
  readonly #unheard;
  readonly #liveByKey;
  readonly #newest;
  readonly #sidecars;
  readonly #sidecarWithProcess;
  readonly #addEvent;
  readonly #events;
  readonly #insertEntry;
  readonly #life;

  constructor(database: Database) {
    this.#database = database;
    this.#insert = database.prepare(
      `INSERT INTO sandboxes (id, task_id, app_id, environment_id, image_id, name, tags, state, spec, env_ciphertext, buckets_ciphertext, created_at_ms, external_key, request_key, token_id, member_id)
       VALUES (?, ?, ?, ?, ?, ?, ?, 'created', ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#byId = database.prepare(`SELECT ${SANDBOX_COLUMNS} FROM sandboxes WHERE id = ?`);
    this.#byTask = database.prepare(`SELECT ${SANDBOX_COLUMNS} FROM sandboxes WHERE task_id = ?`);
    this.#byRequestKey = database.prepare(`SELECT ${SANDBOX_COLUMNS} FROM sandboxes WHERE request_key = ?`);
    this.#live = database.prepare(
      `SELECT ${SANDBOX_COLUMNS} FROM sandboxes WHERE state != 'ended' ORDER BY created_at_ms`,
    );
    this.#endedBefore = database.prepare(
      `SELECT ${SANDBOX_COLUMNS} FROM sandboxes WHERE state = 'ended' AND ended_at_ms < ? AND (ended_at_ms, id) > (?, ?)
       ORDER BY ended_at_ms, id LIMIT 100`,
    );
    this.#update = database.prepare(
      `UPDATE sandboxes SET state = ?, result = ?, started_at_ms = ?, ended_at_ms = ?, deadline_ms = ?, ready_at_ms = ?7, instance_id = ?8, sleep = ?9,
       env_ciphertext = CASE WHEN ?1 = 'ended' THEN NULL ELSE env_ciphertext END,
       buckets_ciphertext = CASE WHEN ?1 = 'ended' THEN NULL ELSE buckets_ciphertext END WHERE id = ?6`,
    );
    this.#setName = database.prepare('UPDATE sandboxes SET name = ? WHERE id = ?');
    this.#setTags = database.prepare('UPDATE sandboxes SET tags = ? WHERE id = ?');
    this.#setExitSnapshot = database.prepare('UPDATE sandboxes SET exit_snapshot = ? WHERE id = ?');
    this.#takeBack = database.prepare(
      "UPDATE sandboxes SET member_id = NULL WHERE member_id = ? AND state != 'ended'",
    );
    this.#noteHeard = database.prepare(
      "UPDATE sandboxes SET member_id = NULL WHERE id = ? AND state = 'ended'",
    );
    this.#unheard = database.prepare(
      `SELECT ${SANDBOX_COLUMNS} FROM sandboxes WHERE member_id IS NOT NULL AND state = 'ended' ORDER BY ended_at_ms`,
    );
    this.#liveByKey = database.prepare(
      "SELECT id FROM sandboxes WHERE external_key = ? AND state != 'ended'",
    );
    this.#newest = database.prepare('SELECT max(created_at_ms) AS newest FROM sandboxes');
    this.#sidecars = database.prepare(
      `SELECT ${SANDBOX_COLUMNS} FROM sandboxes WHERE host_id = ? ORDER BY created_at_ms DESC LIMIT 1000`,
    );
    this.#sidecarWithProcess = database.prepare(
      `SELECT ${SANDBOX_COLUMNS} FROM sandboxes JOIN processes USING (task_id) WHERE host_id = ? AND processes.id = ?`,
    );
    this.#addEvent = database.prepare(
      'INSERT INTO sandbox_events (task_id, time_ms, kind, text) VALUES (?, ?, ?, ?)',
    );
    this.#events = database.prepare(
      'SELECT time_ms, kind, text FROM sandbox_events WHERE task_id = ? ORDER BY time_ms, rowid LIMIT 10000',
    );
    this.#insertEntry = database.prepare(
      'INSERT INTO life_events (task_id, time_ms, kind, result) VALUES (?, ?, ?, ?)',
    );
    this.#life = database.prepare(
      'SELECT time_ms, kind, result FROM life_events WHERE task_id = ? ORDER BY seq',
    );
  }

  insert(row: NewSandboxRow): void {
    onceOnly(() => transaction(this.#database, () => this.#insertWithEntry(row)));
  }

  #insertWithEntry(row: NewSandboxRow): void {
    const { appId, environmentId, imageId, name, tags, externalKey } = row.spec;
    this.#insert.run(
      row.id,
      row.taskId,
      appId,
      environmentId,
      imageId,
      name ?? null,
      JSON.stringify(tags),
      storedSpec(row.spec),
      row.sealedEnv,
      row.sealedBuckets ?? null,
      row.createdAtMs,
      externalKey ?? null,
      row.requestKey ?? null,
      row.tokenId ?? null,
      row.memberId ?? null,
    );
    this.#addEntry(row.taskId, { kind: 'created', timeMs: row.createdAtMs, result: undefined });
  }

  #addEntry(taskId: TaskId, { timeMs, kind, result }: Entry): void {
    this.#insertEntry.run(taskId, timeMs, kind, result ? JSON.stringify(result) : null);
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

  endedBefore(beforeMs: number, after?: SandboxRow): SandboxRow[] {
    return this.#endedBefore.all(beforeMs, after?.endedAtMs ?? 0, after?.id ?? '').map(toRow);
  }

  delete({ id, taskId }: Pick<SandboxRow, 'id' | 'taskId'>): void {
    transaction(this.#database, () => {
      for (const table of ['processes', 'sandbox_events', 'life_events']) {
        this.#database.prepare(`DELETE FROM ${table} WHERE task_id = ?`).run(taskId);
      }
      this.#database.prepare('DELETE FROM sandboxes WHERE id = ?').run(id);
    });
  }

  liveIdByExternalKey(key: string): SandboxId | undefined {
    // Rows of this table hold ids that came from newSandboxId().
    return this.#liveByKey.get(key)?.id as SandboxId | undefined;
  }

  getByRequestKey(key: string): SandboxRow | undefined {
    const row = this.#byRequestKey.get(key);
    return row && toRow(row);
  }

  sidecars(ownerId: SandboxId): SandboxRow[] {
    return this.#sidecars.all(ownerId).map(toRow);
  }

  sidecarWithProcess(ownerId: SandboxId, processId: ProcessId): SandboxRow | undefined {
    const row = this.#sidecarWithProcess.get(ownerId, processId);
    return row && toRow(row);
  }

  newestCreatedAtMs(): number {
    return Number(this.#newest.get()?.newest ?? 0);
  }

  find(appId: AppId, name: string, includeEnded: boolean): SandboxRow | undefined {
    const row = this.#database
      .prepare(
        `SELECT ${SANDBOX_COLUMNS} FROM sandboxes WHERE app_id = ? AND name = ? ${includeEnded ? '' : "AND state != 'ended'"} ORDER BY created_at_ms DESC LIMIT 1`,
      )
      .get(appId, name);
    return row && toRow(row);
  }

  list(query: SandboxFilter): SandboxRow[] {
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
      .prepare(
        `SELECT ${SANDBOX_COLUMNS} FROM sandboxes WHERE ${where.join(' AND ')} ORDER BY created_at_ms DESC LIMIT ?`,
      )
      .all(...values, query.limit)
      .map(toRow);
  }

  update(
    { id, taskId }: Pick<SandboxRow, 'id' | 'taskId'>,
    life: StoredLife,
    entries: readonly Entry[],
  ): void {
    transaction(this.#database, () => {
      this.#update.run(
        life.state,
        life.result ? JSON.stringify(life.result) : null,
        life.startedAtMs ?? null,
        life.endedAtMs ?? null,
        life.deadlineMs ?? null,
        id,
        life.readyAtMs ?? null,
        life.instance ?? null,
        life.slept ? JSON.stringify(life.slept) : null,
      );
      for (const entry of entries) this.#addEntry(taskId, entry);
    });
  }

  setName(id: SandboxId, name: string): void {
    onceOnly(() => this.#setName.run(name, id));
  }

  setTags(id: SandboxId, tags: Readonly<Record<string, string>>): void {
    this.#setTags.run(JSON.stringify(tags), id);
  }

  /** What happened to a sandbox, oldest first. */
  life(taskId: TaskId): Entry[] {
    return this.#life.all(taskId).map((row) => ({
      timeMs: Number(row.time_ms),
      kind: row.kind as Entry['kind'], // written by #addEntry() only
      result: row.result === null ? undefined : (JSON.parse(String(row.result)) as SandboxResult),
    }));
  }

  setExitSnapshot(id: SandboxId, taken: ExitSnapshot): void {
    this.#setExitSnapshot.run(JSON.stringify(taken), id);
  }

  noteHeard(id: SandboxId): void {
    this.#noteHeard.run(id);
  }

  unheard(): SandboxRow[] {
    return this.#unheard.all().map(toRow);
  }

  takeBack(from: MemberId): void {
    this.#takeBack.run(from);
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

function onceOnly(write: () => void): void {
  try {
    write();
  } catch (error) {
    if (!isUniqueViolation(error)) throw error;
    throw new UniqueViolation('another row has it', { cause: error });
  }
}
