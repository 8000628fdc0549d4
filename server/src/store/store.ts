/** Everything that rows are kept of, over one database. What each part is for says the room whose interface it implements. */

import { SqlApps, SqlEnvironments } from './apps.ts';
import { checkNoOwnRecords, checkOwnRecords, checkPair, pair } from './data-directory.ts';
import type { Database } from './database.ts';
import { SqlGateways } from './gateways.ts';
import { SqlAnswers } from './idempotency.ts';
import { SqlImageUses } from './image-uses.ts';
import { SqlImages } from './images.ts';
import { SqlLegacyExecs } from './legacy-execs.ts';
import { SqlMembers } from './members.ts';
import { SqlMemorySnapshots } from './memory-snapshots.ts';
import { SqlMounts } from './mounts.ts';
import { joinPostgres, openPostgres } from './postgres/open-postgres.ts';
import { SqlProcesses } from './processes.ts';
import { SqlSandboxes } from './sandboxes.ts';
import { SqlSecrets } from './secrets.ts';
import { SqlSettings } from './settings.ts';
import { openSqlite } from './sqlite.ts';
import { SqlTunnels } from './tunnels.ts';
import { SqlBlocks, SqlVolumeMounts, SqlVolumes } from './volumes.ts';
import { SqlWebhookMessages } from './webhooks.ts';

export class Store {
  /** For what is no aggregate's business: tests look in here. */
  readonly database: Database;
  readonly answers: SqlAnswers;
  readonly apps: SqlApps;
  readonly environments: SqlEnvironments;
  readonly imageUses: SqlImageUses;
  readonly images: SqlImages;
  readonly legacyExecs: SqlLegacyExecs;
  /** Of PostgreSQL only. */
  readonly members: SqlMembers;
  readonly memorySnapshots: SqlMemorySnapshots;
  readonly mounts: SqlMounts;
  readonly processes: SqlProcesses;
  readonly sandboxes: SqlSandboxes;
  readonly secrets: SqlSecrets;
  readonly settings: SqlSettings;
  readonly tunnels: SqlTunnels;
  readonly gateways: SqlGateways;
  readonly volumeBlocks: SqlBlocks;
  readonly volumeMounts: SqlVolumeMounts;
  readonly volumes: SqlVolumes;
  readonly webhookMessages: SqlWebhookMessages;

  constructor(database: Database) {
    this.database = database;
    this.answers = new SqlAnswers(database);
    this.apps = new SqlApps(database);
    this.environments = new SqlEnvironments(database);
    this.imageUses = new SqlImageUses(database);
    this.images = new SqlImages(database);
    this.legacyExecs = new SqlLegacyExecs(database);
    this.members = new SqlMembers(database);
    this.memorySnapshots = new SqlMemorySnapshots(database);
    this.mounts = new SqlMounts(database);
    this.processes = new SqlProcesses(database);
    this.sandboxes = new SqlSandboxes(database);
    this.secrets = new SqlSecrets(database);
    this.settings = new SqlSettings(database);
    this.tunnels = new SqlTunnels(database);
    this.gateways = new SqlGateways(database);
    this.volumeBlocks = new SqlBlocks(database);
    this.volumeMounts = new SqlVolumeMounts(database);
    this.volumes = new SqlVolumes(database);
    this.webhookMessages = new SqlWebhookMessages(database);
  }

  /** Whether the database answers at all. Takes as long as it takes to find out: seconds at worst. */
  isAnswering(): boolean {
    try {
      this.settings.get('boot-id');
      return true;
    } catch {
      return false;
    }
  }

  close(): void {
    this.database.close();
  }
}

/**
 * Opens the store of a data directory: `<dataDir>/skerry.db`, or a database of PostgreSQL.
 * @param databaseUrl where that is; empty for none
 * @param passwordFile with its password; empty for none
 * @throws like `openSqlite` or `openPostgres`, and SkerryError `conflict` when the records of that directory are elsewhere
 */
export function openStore(dataDir: string, databaseUrl = '', passwordFile = ''): Store {
  if (databaseUrl === '') {
    checkOwnRecords(dataDir);
    return new Store(openSqlite(dataDir));
  }
  checkNoOwnRecords(dataDir);
  const database = openPostgres({ url: databaseUrl, passwordFile });
  try {
    pair(dataDir, database);
    return new Store(database);
  } catch (error) {
    database.close();
    throw error;
  }
}

/**
 * Opens it for a server that keeps sandboxes under one that leads, whose directory and database it shares.
 * @param lock @see joinPostgres
 * @throws like `joinPostgres`, and SkerryError `conflict` for another directory than the others'
 */
export function openMemberStore(dataDir: string, url: string, passwordFile: string, lock: string): Store {
  const database = joinPostgres({ url, passwordFile }, lock);
  try {
    const store = new Store(database);
    checkPair(dataDir, store.settings.get('data-directory'));
    return store;
  } catch (error) {
    database.close();
    throw error;
  }
}
