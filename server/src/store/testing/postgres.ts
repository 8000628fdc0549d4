/** A PostgreSQL of a test's own: Debian's programs, as another user than root, in a temporary directory, reached by a socket there. */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** Debian keeps the programs of each version apart. */
const VERSIONS = '/usr/lib/postgresql';
export const USER = 'skerry';
/** In the URL of every such database: where it turns up elsewhere, a test can tell. */
export const PASSWORD = 'not-for-the-log';

/** Why there is none on this machine; false when there is. For `skip`. */
export const noPostgres: false | string = binDir() === undefined && 'no PostgreSQL (package postgresql)';

/** What is otherwise than with one that is reached by a socket and knows passwords. */
export interface TestPostgresOptions {
  /** As `name=value`. */
  readonly settings?: readonly string[];
  /** Lines of `pg_hba.conf`, in front of those that are there. */
  readonly access?: readonly string[];
  /** Files of the data directory, by name. */
  readonly files?: Readonly<Record<string, string>>;
}

export class TestPostgres {
  readonly #directory: string;
  readonly #settings: readonly string[];
  #server: ChildProcess | undefined;

  private constructor(directory: string, settings: readonly string[]) {
    this.#directory = directory;
    this.#settings = settings;
  }

  static async start(options: TestPostgresOptions = {}): Promise<TestPostgres> {
    const { settings = [], access = [], files = {} } = options;
    const directory = mkdtempSync(join(tmpdir(), 'skerry-pg-'));
    const postgres = new TestPostgres(directory, settings);
    try {
      chmodSync(directory, 0o700);
      const { uid, gid } = postgresUser();
      chownSync(directory, uid, gid);
      const passwordFile = join(directory, 'password');
      writeFileSync(passwordFile, PASSWORD);
      chownSync(passwordFile, uid, gid);
      const initdb = ['-D', join(directory, 'data'), '-U', USER, `--pwfile=${passwordFile}`];
      execFileSync(
        program('initdb'),
        [...initdb, '-A', 'scram-sha-256', '-E', 'UTF8', '--locale=C.UTF-8', '-N'],
        {
          ...{ uid, gid, cwd: directory, stdio: 'pipe' },
        },
      );
      const hba = join(directory, 'data/pg_hba.conf');
      writeFileSync(hba, [...access, readFileSync(hba, 'utf8')].join('\n'));
      for (const [name, content] of Object.entries(files)) postgres.put(name, content);
      await postgres.resume();
      return postgres;
    } catch (error) {
      rmSync(directory, { recursive: true, force: true });
      throw error;
    }
  }

  /** A new, empty database. @returns its URL */
  createDatabase(name: string): string {
    const [command, ...args] = this.createdb;
    execFileSync(command, [...args, name], { stdio: 'pipe' });
    return this.url(name);
  }

  /** The program that makes a database when it is given a name as its last argument, for other processes. */
  get createdb(): readonly [string, ...string[]] {
    return ['env', `PGPASSWORD=${PASSWORD}`, program('createdb'), '-h', this.#directory, '-U', USER];
  }

  /** @param directory another one whose socket leads here */
  url(name: string, directory: string = this.#directory): string {
    return `postgres://${USER}:${PASSWORD}@localhost/${name}?host=${encodeURIComponent(directory)}`;
  }

  /** Where its socket is. */
  get directory(): string {
    return this.#directory;
  }

  /** Writes a file of its data directory that only it may read. */
  put(name: string, content: string): void {
    const { uid, gid } = postgresUser();
    const path = join(this.#directory, 'data', name);
    writeFileSync(path, content, { mode: 0o600 });
    chownSync(path, uid, gid);
  }

  /** Ends it as a crash does. */
  async kill(): Promise<void> {
    await this.#stop('SIGQUIT');
  }

  /** Starts it, again after `kill`. @param others than its settings, in place of those of the same name */
  async resume(others: readonly string[] = []): Promise<void> {
    const { uid, gid } = postgresUser();
    const settings = [
      'listen_addresses=',
      'fsync=off',
      'max_connections=100',
      `unix_socket_directories=${this.#directory}`,
      ...this.#settings,
      ...others,
    ];
    const flags = settings.flatMap((setting) => ['-c', setting]);
    const server = spawn(program('postgres'), ['-D', join(this.#directory, 'data'), ...flags], {
      ...{ uid, gid, cwd: this.#directory, stdio: ['ignore', 'ignore', 'pipe'] },
    });
    this.#server = server;
    const said: string[] = [];
    for await (const line of createInterface({ input: server.stderr })) {
      said.push(line);
      if (!line.includes('ready to accept connections')) continue;
      server.stderr.resume(); // a full pipe would stop it
      return;
    }
    assert.fail(`PostgreSQL does not start:\n${said.join('\n')}`);
  }

  async stop(): Promise<void> {
    await this.#stop('SIGINT');
    rmSync(this.#directory, { recursive: true, force: true });
  }

  async #stop(signal: 'SIGINT' | 'SIGQUIT'): Promise<void> {
    const server = this.#server;
    if (!server || server.exitCode !== null) return;
    const exit = once(server, 'exit');
    server.kill(signal);
    await exit;
  }
}

function binDir(): string | undefined {
  if (!existsSync(VERSIONS)) return undefined;
  const versions = readdirSync(VERSIONS).sort((one, other) => Number(other) - Number(one));
  return versions
    .map((version) => join(VERSIONS, version, 'bin'))
    .find((path) => existsSync(join(path, 'initdb')));
}

function program(name: string): string {
  return join(binDir() ?? '', name);
}

/** PostgreSQL refuses to run as root. Its package brings a user. */
export function postgresUser(): { readonly uid: number; readonly gid: number } {
  const { getuid, getgid } = process;
  assert.ok(getuid && getgid);
  if (getuid() !== 0) return { uid: getuid(), gid: getgid() };
  const id = (flag: string) => Number(execFileSync('id', [flag, 'postgres']));
  return { uid: id('-u'), gid: id('-g') };
}
