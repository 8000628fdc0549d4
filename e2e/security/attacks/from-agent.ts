/** Attempts by the socket of an agent, which root in a sandbox can use as well as the agent does, and by what the agent does for its callers. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AgentHarness } from '../../../server/src/agent/testing/agent-harness.ts';
import { AgentListener } from '../../../server/src/engines/oci/agent-listener.ts';
import { run } from '../../../server/src/platform/command.ts';
import type { ServerAttack } from '../support/server-attack.ts';

/** More than the spare connections that any agent has. */
const CONNECTIONS = 100;
const MESSAGE_BYTES = 8 << 20;

/** The server's end of the socket, or one that keeps all that comes and says so. */
async function withListener<T>(checked: boolean, use: (path: string) => Promise<T>): Promise<T> {
  await using done = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'skerry-agent-attack-'));
  done.defer(() => rm(directory, { recursive: true, force: true }));
  const path = join(directory, 'agent.sock');
  if (checked) {
    const listener = new AgentListener(path);
    await listener.listen();
    done.defer(() => listener.close());
  } else {
    const server = await keepEverything(path);
    done.defer(() => void server.close());
  }
  return await use(path);
}

async function keepEverything(path: string): Promise<Server> {
  const kept: Buffer[] = [];
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', (data) => {
      kept.push(data);
      socket.write('kept');
    });
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return server;
}

/** Connects, sends this, and waits for any answer. @throws when the server closes instead */
function say(path: string, message: Buffer, done: AsyncDisposableStack): Promise<string> {
  const socket = connect(path);
  done.defer(() => void socket.destroy());
  return new Promise((resolve, reject) => {
    socket.on('error', () => {}); // 'close' follows
    socket.once('close', () => reject(new Error('the connection was closed')));
    socket.once('data', () => resolve('it was kept'));
    socket.write(message);
  });
}

export const fromAgentAttacks: readonly ServerAttack[] = [
  {
    name: 'fill the server by the socket of the agent',
    threat: 'exhaustion',
    says: /^the connection was closed/,
    by: 'a connection that nobody uses may bring a greeting and no more',
    attempt: (checked) =>
      withListener(checked, async (path) => {
        await using done = new AsyncDisposableStack();
        return await say(path, Buffer.alloc(MESSAGE_BYTES), done);
      }),
  },
  {
    name: 'flood the server with connections to the socket of the agent',
    threat: 'exhaustion',
    says: /^the connection was closed/,
    by: 'so many that nobody uses are kept, and no more',
    attempt: (checked) =>
      withListener(checked, async (path) => {
        await using done = new AsyncDisposableStack();
        const all = Array.from({ length: CONNECTIONS }, () => say(path, Buffer.from('x'), done));
        return (await Promise.all(all)).at(-1) ?? '';
      }),
  },
  {
    name: 'reach files of the machine by a working directory that its agent was started with',
    threat: 'escape',
    says: /^none of them/,
    by: 'the agent closes whatever is open before it enters a directory',
    attempt: async (checked) => {
      const directory = await mkdtemp(join(tmpdir(), 'skerry-workdir-attack-'));
      await using done = new AsyncDisposableStack();
      done.defer(() => rm(directory, { recursive: true, force: true }));
      await writeFile(join(directory, 'file'), 'reached');
      const leaving = ['sh', '-c', 'exec 9<"$0"; exec "$@"', directory] as const;
      const agent = done.use(await AgentHarness.start(leaving));
      const enter = (cwd: string) =>
        checked
          ? agent.exec(['cat', 'file'], { cwd })
          : run([...leaving, 'sh', '-c', 'cd "$0" && exec cat file', cwd], { okCodes: [1, 2] });
      for (let descriptor = 3; descriptor < 32; descriptor++) {
        const { stdout } = await enter(`/proc/self/fd/${descriptor}`).catch(() => ({ stdout: '' }));
        if (stdout === 'reached') return `it was reached by ${descriptor}`;
      }
      throw new Error('none of them leads to it');
    },
  },
];
