/** Attempts by the socket of an agent, which root in a sandbox can use as well as the agent does, and by what the agent does for its callers. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Duplex, duplexPair } from 'node:stream';
import { AgentClient } from '../../../server/src/agent/agent-client.ts';
import { AgentHarness } from '../../../server/src/agent/testing/agent-harness.ts';
import { Collector } from '../../../server/src/agent/testing/collector.ts';
import { frame, hello } from '../../../server/src/agent/testing/lying-agent.ts';
import { AgentListener } from '../../../server/src/engines/oci/agent-listener.ts';
import { SkerryError } from '../../../server/src/errors/skerry-error.ts';
import { run } from '../../../server/src/platform/command.ts';
import { createLogger } from '../../../server/src/telemetry/logger.ts';
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

const CONVERSATIONS = 200;
const PIECES = [
  '',
  '{}',
  '[]',
  'null',
  '{"pid":1e99}',
  '{"processes":[{"id":"../../x"}]}',
  '{"kind":"__proto__"}',
  '\\xff',
];

/** The same numbers each time: what fails must fail again. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return state >>> 8;
  };
}

/** A frame of any type, of a length that need not be true, or bytes that are none. */
function lie(random: () => number): Buffer {
  const payload =
    random() % 2 === 0
      ? Buffer.from(PIECES[random() % PIECES.length] ?? '')
      : Buffer.from(Array.from({ length: random() % 40 }, () => random() & 0xff));
  const length = random() % 4 === 0 ? (random() * 4099) % 2 ** 32 : payload.length;
  return random() % 8 === 0 ? payload : frame(random() % 16, payload, length);
}

/** Asks an agent that says this for all there is to ask. @throws what is no error of ours */
async function converse(lies: readonly Buffer[]): Promise<void> {
  const says = Buffer.concat([hello, ...lies]);
  const dial = async (): Promise<Duplex> => {
    const [our, their] = duplexPair();
    their.on('error', () => {}).resume();
    their.end(says); // and says no more
    return our;
  };
  const agent = new AgentClient(dial, createLogger('silent'));
  const signal = AbortSignal.timeout(60_000);
  const sink = new Collector();
  const request = {
    ...{ id: 'x', argv: ['x'], env: {}, cwd: '/' },
    ...({ stdin: 'pipe', stdout: 'pipe', stderr: 'pipe' } as const),
  };
  for (const ask of [
    () => agent.start(request, sink, signal),
    () => agent.list(signal),
    () => agent.stats(signal),
    () => agent.connect(80, signal).then((stream) => void stream.on('error', () => {}).destroy()),
  ]) {
    try {
      await ask();
    } catch (error) {
      if (!(error instanceof SkerryError)) throw error;
    }
  }
}

/** Reads frames as if whoever sent them told the truth. @returns when one of them brings a program down that believes it */
function believe(bytes: Buffer): void {
  for (let at = 0; at + 5 <= bytes.length; ) {
    const length = bytes.readUInt32LE(at + 1);
    JSON.parse(bytes.toString('utf8', at + 5, at + 5 + length));
    at += 5 + length;
  }
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
    name: 'bring the server down by an agent that answers everything wrongly',
    threat: 'exhaustion',
    says: /^each was refused/,
    by: 'what an agent says is checked like a message of a stranger',
    attempt: async (checked) => {
      const random = numbers(7);
      for (let count = 0; count < CONVERSATIONS; count++) {
        const lies = Array.from({ length: 1 + (random() % 6) }, () => lie(random));
        try {
          if (checked) await converse(lies);
          else believe(Buffer.concat(lies));
        } catch (error) {
          return `an error that nobody expects: ${error}`;
        }
      }
      throw new Error('each was refused with a reason');
    },
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
