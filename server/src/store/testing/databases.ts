/** Every database that a store can have, for tests that all of them must pass. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openStore, type Store } from '../store.ts';
import { noPostgres, TestPostgres } from './postgres.ts';

export interface OpenedStore {
  readonly store: Store;
  /** Closes it and opens it once more. */
  reopen(): Store;
  /** Closes it and removes what it was in. */
  remove(): void;
}

export interface StoreDatabase {
  readonly name: string;
  readonly skip: false | string;
  /** What must run before the first store is opened. */
  start(): Promise<void>;
  /** A new, empty store. */
  open(): OpenedStore;
  stop(): Promise<void>;
}

let postgres: TestPostgres | undefined;
let made = 0;

export const storeDatabases: readonly StoreDatabase[] = [
  {
    ...{ name: 'SQLite', skip: false },
    ...{ start: async () => {}, open: () => openIn(), stop: async () => {} },
  },
  {
    ...{ name: 'PostgreSQL', skip: noPostgres },
    start: async () => {
      postgres = await TestPostgres.start();
    },
    open: () => openIn(postgres?.createDatabase(`store${++made}`)),
    stop: async () => postgres?.stop(),
  },
];

function openIn(databaseUrl?: string): OpenedStore {
  const dataDir = mkdtempSync(join(tmpdir(), 'skerry-store-'));
  const first = openStore(dataDir, databaseUrl);
  let store = first;
  return {
    store: first,
    reopen: () => {
      store.close();
      store = openStore(dataDir, databaseUrl);
      return store;
    },
    remove: () => {
      store.close();
      rmSync(dataDir, { recursive: true });
    },
  };
}
