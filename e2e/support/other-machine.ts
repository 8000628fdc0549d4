/**
 * Another machine, as far as clients can tell: a network namespace with a cable to this one, its own loopback interface and its own `/etc/hosts`. It lives
 * as long as one process does, which ends with this one: nothing can be left of it.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '../../server/src/platform/command.ts';
import { projectRoot } from './server.ts';

export interface OtherMachine extends AsyncDisposable {
  /** The address of this machine on the cable. */
  readonly serverAddress: string;
  /** Its own address on the cable. */
  readonly address: string;
  /** A name that only the other machine has for that address. */
  readonly serverName: string;
  /** The command that runs a program there, in the folder of the end-to-end tests, where the JavaScript client is found. */
  inside(argv: readonly string[]): [string, ...string[]];
}

const cwd = join(projectRoot, 'e2e');
const SERVER_NAME = 'lab.skerry.test';

/** Makes it. Needs root. */
export async function startOtherMachine(): Promise<OtherMachine> {
  const scratch = mkdtempSync(join(tmpdir(), 'other-machine-'));
  const holder = spawn('unshare', ['--net', '--mount', '--propagation', 'private', 'cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = once(holder, 'exit');
  const dispose = async () => {
    holder.stdin.end();
    await ended;
    rmSync(scratch, { recursive: true, force: true });
  };
  try {
    holder.stdin.write('here\n');
    await once(holder.stdout, 'data'); // `cat` answers, so the namespaces are there
    const { pid } = holder;
    assert.ok(pid !== undefined);
    const inside = (argv: readonly string[]): [string, ...string[]] => [
      'nsenter',
      `--net=/proc/${pid}/ns/net`,
      `--mount=/proc/${pid}/ns/mnt`,
      `--wd=${cwd}`,
      '--',
      ...argv,
    ];

    // 198.18.0.0/15 is for tests between networks (RFC 2544); of each four addresses two are used.
    const network = randomInt(1 << 15) * 4;
    const address = (offset: number) => {
      const number = network + offset;
      return `198.${18 + (number >> 16)}.${(number >> 8) & 255}.${number & 255}`;
    };
    const serverAddress = address(1);
    const cable = `other-${randomBytes(4).toString('hex')}`;
    await run(['ip', 'link', 'add', cable, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(pid)]);
    await run(['ip', 'address', 'add', `${serverAddress}/30`, 'dev', cable]);
    await run(['ip', 'link', 'set', cable, 'up']);
    await run(inside(['ip', 'address', 'add', `${address(2)}/30`, 'dev', 'eth0']));
    for (const device of ['lo', 'eth0']) await run(inside(['ip', 'link', 'set', device, 'up']));

    const hosts = join(scratch, 'hosts');
    writeFileSync(hosts, `127.0.0.1 localhost\n::1 localhost\n${serverAddress} ${SERVER_NAME}\n`);
    await run(inside(['mount', '--bind', hosts, '/etc/hosts']));
    const own = address(2);
    return { serverAddress, address: own, serverName: SERVER_NAME, inside, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await dispose();
    throw error;
  }
}
