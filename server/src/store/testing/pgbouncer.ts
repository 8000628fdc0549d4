/** A PgBouncer of a test's own in front of a `TestPostgres`: Debian's program, reached by a socket in its directory. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { findProgram } from '../../platform/find-program.ts';
import { PASSWORD, postgresUser, type TestPostgres, USER } from './postgres.ts';

/** Why there is none on this machine; false when there is. For `skip`. */
export const noPgBouncer: false | string =
  findProgram('pgbouncer') === undefined && 'no PgBouncer (package pgbouncer)';

export class TestPgBouncer {
  readonly #directory: string;
  readonly #program: ChildProcess;

  private constructor(directory: string, program: ChildProcess) {
    this.#directory = directory;
    this.#program = program;
  }

  /** @param settings of its section `pgbouncer` */
  static async start(
    postgres: TestPostgres,
    settings: Readonly<Record<string, string | number>>,
  ): Promise<TestPgBouncer> {
    const directory = mkdtempSync(join(tmpdir(), 'skerry-pgbouncer-'));
    const { uid, gid } = postgresUser();
    const put = (name: string, lines: readonly string[]) => {
      const path = join(directory, name);
      writeFileSync(path, lines.join('\n'), { mode: 0o600 });
      chownSync(path, uid, gid);
      return path;
    };
    chownSync(directory, uid, gid);
    const users = put('users', [`"${USER}" "${PASSWORD}"`]);
    const all = { unix_socket_dir: directory, auth_type: 'scram-sha-256', auth_file: users, ...settings };
    const path = put('pgbouncer.ini', [
      ...['[databases]', `* = host=${postgres.directory}`, '[pgbouncer]'],
      ...Object.entries(all).map(([name, value]) => `${name} = ${value}`),
    ]);
    const program = spawn('pgbouncer', [path], { uid, gid, stdio: ['ignore', 'ignore', 'pipe'] });
    const pgbouncer = new TestPgBouncer(directory, program);
    const said: string[] = [];
    for await (const line of createInterface({ input: program.stderr })) {
      said.push(line);
      if (!line.includes('process up')) continue;
      program.stderr.resume(); // a full pipe would stop it
      return pgbouncer;
    }
    await pgbouncer.stop();
    return assert.fail(`PgBouncer does not start:\n${said.join('\n')}`);
  }

  url(name: string): string {
    return `postgres://${USER}:${PASSWORD}@localhost/${name}?port=6432&host=${encodeURIComponent(this.#directory)}`;
  }

  async stop(): Promise<void> {
    if (this.#program.exitCode === null && this.#program.signalCode === null) {
      const exit = once(this.#program, 'exit');
      this.#program.kill('SIGKILL'); // on others it waits, from 1.23 on, until its clients have left
      await exit;
    }
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
