/** What is attacked under one runtime: a server, sandboxes of it, and what they must not reach. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { Cleanup } from '../../../server/src/platform/cleanup.ts';
import { run } from '../../../server/src/platform/command.ts';
import { startServer, type TestServer } from '../../support/server.ts';
import { isFull, untilWarm, warmKinds } from '../../support/warm-pool.ts';
import { smallLimits } from '../attacks/exhaustion.ts';
import { NEIGHBOUR_PORT } from '../attacks/network.ts';
import type { Attempt, InsideAttack, Runtime } from './attack.ts';
import { type Canary, makeCanary } from './canary.ts';
import { throughHole } from './network-hole.ts';
import { makeNetworkPlace } from './network-place.ts';
import type { ProofGroup } from './proofs.ts';
import { createSandboxes, type StrongSandbox } from './strong-sandbox.ts';
import { runInChroot, runWeakened } from './weak-sandbox.ts';
import type { Bundle } from './weakenings.ts';

export type Attempts = ReadonlyMap<string, Attempt>;

const runner = ['python3', '-c', readFileSync(new URL('../inside/attempt.py', import.meta.url), 'utf8')];
/** Whether all that is attacked waited for somebody, and not just the one for most attacks (`npm run test:attacks` does both). */
const onWaiting = process.env.SKERRY_TEST_WAITING === '1';
const attemptSchema = z.object({ name: z.string(), succeeded: z.boolean(), said: z.string() });
/** In the sandbox: of the kernel's log, which holds no harm. */
const deviceNode = '/attack-device';
/** The other sandbox tells a witness of what it gets. */
const neighbour = `
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("", ${NEIGHBOUR_PORT}))
print("ready", flush=True)
while True:
    server.sendto(server.recv(64), (sys.argv[1], 9))`;

interface Sandboxes {
  readonly shared: StrongSandbox;
  readonly blocked: StrongSandbox;
  readonly listed: StrongSandbox;
  readonly named: StrongSandbox;
}

export class Target implements AsyncDisposable {
  readonly #cleanup: Cleanup;
  readonly #server: TestServer;
  readonly #runtime: Runtime;
  readonly #canary: Canary;
  readonly #sandboxes: Sandboxes;
  #given: Readonly<Record<string, string | number>> = {};

  static async open(runtime: Runtime): Promise<Target> {
    const cleanup = new Cleanup();
    try {
      const network = await makeNetworkPlace();
      cleanup.add('network', () => network[Symbol.asyncDispose]());
      const flags = [...smallLimits.flags, '--nameservers', network.nameserver];
      const server = await startServer({ runtime, flags, warmPool: onWaiting ? 8 : 1 });
      cleanup.add('server', () => server.stop());
      const canary = await makeCanary();
      cleanup.add('canary', () => canary[Symbol.asyncDispose]());
      const make = (options: readonly string[]) => createSandboxes(server, runtime, options);
      const secret = `secrets=[modal.Secret.from_dict({"FORMER": "${canary.former}"})]`;
      const [other] = await make([`${memory}, ${secret}`]);
      const [shared] = await fromPool(server, () => make([memory]));
      const places = [
        `${memory}, block_network=True`,
        `${memory}, outbound_cidr_allowlist=["192.0.2.99/32"]`,
        `${memory}, outbound_domain_allowlist=["*.example.org"]`,
      ];
      if (onWaiting) await make(places);
      const made = onWaiting ? await fromPool(server, () => make(places)) : await make(places);
      const [blocked, listed, named] = made;
      assert.ok(shared && blocked && listed && named && other);
      // As if a layer had brought it: what is mounted has no name for the machine's root.
      const upper = join(server.dataDir, 'instances', basename(shared.directory), 'upper');
      await run(['mknod', '--mode=0666', join(upper, deviceNode), 'c', '1', '11']);
      await other.background(['python3', '-c', neighbour, network.nameserver]);
      const target = new Target(cleanup, server, runtime, canary, { shared, blocked, listed, named });
      target.#given = {
        ...canary.given,
        ...network.given,
        deviceNode,
        neighbour: await addressOf(other),
      };
      return target;
    } catch (error) {
      await cleanup.run();
      throw error;
    }
  }

  private constructor(
    cleanup: Cleanup,
    server: TestServer,
    runtime: Runtime,
    canary: Canary,
    sandboxes: Sandboxes,
  ) {
    this.#cleanup = cleanup;
    this.#server = server;
    this.#runtime = runtime;
    this.#canary = canary;
    this.#sandboxes = sandboxes;
  }

  /** Makes the attacks as users would meet them. */
  async attack(attacks: readonly InsideAttack[]): Promise<Attempts> {
    const { shared, blocked, listed, named } = this.#sandboxes;
    const at = (place: InsideAttack['place']) => attacks.filter((attack) => attack.place === place);
    const found = new Map<string, Attempt>();
    for (const [sandbox, place] of [
      [shared, undefined],
      [blocked, 'blocked'],
      [listed, 'listed'],
      [named, 'named'],
    ] as const) {
      for (const [name, attempt] of await this.#run(sandbox, at(place))) found.set(name, attempt);
    }
    const alone = at('alone');
    const own = await createSandboxes(
      this.#server,
      this.#runtime,
      alone.map(() => memory),
    );
    for (const [index, attack] of alone.entries()) {
      const sandbox = own[index];
      assert.ok(sandbox);
      const attempt = (await this.#run(sandbox, [attack]).catch(() => undefined))?.get(attack.name);
      found.set(attack.name, attempt ?? { succeeded: false, said: await fate(sandbox) });
    }
    return found;
  }

  /** Makes the attacks where nothing holds them. */
  async prove({ proof, attacks }: ProofGroup): Promise<Attempts> {
    const { shared, ...places } = this.#sandboxes;
    const input = this.#task(attacks);
    if (typeof proof === 'string') return parse(await runInChroot(shared, runner, input));
    if (!('hole' in proof)) return parse(await runWeakened(shared, proof, this.#canary, runner, input));
    let attempts: Attempts = new Map();
    await throughHole(this.#server.dataDir, proof, this.#given, async () => {
      const place = attacks[0]?.place; // the same for all: what a hole is for is one policy's
      const sandbox = place === undefined || place === 'alone' ? shared : places[place];
      attempts = await this.#run(sandbox, attacks);
      return [...attempts.values()].every(({ succeeded }) => succeeded);
    });
    return attempts;
  }

  async #run(sandbox: StrongSandbox, attacks: readonly InsideAttack[]): Promise<Attempts> {
    return parse(await sandbox.run(runner, this.#task(attacks)));
  }

  #task(attacks: readonly InsideAttack[]): string {
    return JSON.stringify({
      given: this.#given,
      attacks: attacks.map(({ name, program }) => ({ name, program })),
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#cleanup.run();
  }
}

/** Makes some, after others that are like them, when as many wait, and sees to it that each is one of these. */
async function fromPool(server: TestServer, make: () => Promise<StrongSandbox[]>): Promise<StrongSandbox[]> {
  const taken = async () => (await warmKinds(server)).reduce((sum, { hits }) => sum + hits, 0);
  await untilWarm(server, isFull);
  const before = await taken();
  const made = await make();
  assert.equal((await taken()) - before, made.length, 'some did not wait');
  return made;
}

const memory = `memory=(${smallLimits.memoryMiB}, ${smallLimits.memoryMiB})`;

/** What became of a sandbox in which an attack took along who would have told of it. */
const fate = (sandbox: StrongSandbox): Promise<string> =>
  sandbox.run(['true']).then(
    () => 'all its programs were killed',
    () => 'its sandbox was ended',
  );

/** By which the machine knows a sandbox: its device is named by the number of its network. */
async function addressOf(sandbox: StrongSandbox): Promise<string> {
  const bundle = JSON.parse(await readFile(join(sandbox.directory, 'config.json'), 'utf8')) as Bundle; // ours
  const path = bundle.linux.namespaces.find(({ type }) => type === 'network')?.path ?? '';
  const device = `sk${sandbox.server}${Number(basename(path)).toString(36)}`;
  const { stdout } = await run(['ip', '-4', 'route', 'show', 'dev', device]);
  const [, address] = /^(\S+) via/m.exec(stdout) ?? [];
  assert.ok(address, `no route to ${device}:\n${stdout}`);
  return address;
}

function parse(lines: string): Attempts {
  const attempts = lines
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => attemptSchema.parse(JSON.parse(line)));
  return new Map(attempts.map((attempt) => [attempt.name, attempt]));
}
