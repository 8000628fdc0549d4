/** A program with the official Python client that a test tells, line by line, what to do while it changes the machine under it. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { withDeadline } from '../../server/src/platform/wait.ts';
import { pythonWith } from './clients.ts';
import { projectRoot, type TestServer } from './server.ts';
import { patient, slownessEnvironment } from './slowness.ts';

export interface Driver extends AsyncDisposable {
  /** Sends a command; its events are then awaited with `expect`. */
  send(command: string): void;
  /** The next event, which must be of this kind. @throws with the program's errors when it ended or took too long, by default two minutes */
  expect(event: string, withinMs?: number): Promise<Record<string, unknown>>;
  /** Waits for its end. @throws unless it ended well */
  end(): Promise<void>;
}

const EVENT_TIMEOUT_MS = patient(120_000);

/** `program`: its path in the clone, `args` its arguments. It answers each command with events, a line of JSON each. */
export function startDriver(server: TestServer, program: string, ...args: readonly string[]): Driver {
  const child = spawn(pythonWith(), [join(projectRoot, program), ...args], {
    env: { ...server.clientEnv, ...slownessEnvironment, PYTHONUNBUFFERED: '1' },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  child.stdin.on('error', () => {}); // a driver that died says so when its next event is awaited
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => {
    errors = (errors + chunk.toString('utf8')).slice(-20_000);
  });
  const exited = once(child, 'exit');
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    send: (command) => child.stdin.write(`${command}\n`),
    expect: async (event, withinMs = EVENT_TIMEOUT_MS) => {
      const next = await withDeadline(lines.next(), withinMs);
      assert.ok(
        next && !next.done,
        `the driver did not say '${event}':\n${errors}\nserver:\n${server.log().slice(-8_000)}`,
      );
      const said = JSON.parse(next.value) as Record<string, unknown>;
      assert.equal(said.event, event, errors);
      return said;
    },
    end: async () => {
      const [code] = await exited;
      assert.equal(code, 0, errors);
    },
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL');
      await exited;
    },
  };
}
