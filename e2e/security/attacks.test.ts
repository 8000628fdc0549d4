/**
 * What a hostile program tries, in a sandbox as users have it and in one that is weakened in just the mechanism that holds it. There the attack must succeed:
 * one that could not would show nothing.
 */
import assert from 'node:assert/strict';
import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { z } from 'zod';
import { run } from '../../server/src/platform/command.ts';
import { runtimesToTest } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { agentAttacks } from './attacks/agent.ts';
import { callAttacks } from './attacks/calls.ts';
import { exhaustionAttacks, smallLimits } from './attacks/exhaustion.ts';
import { kernelFileAttacks } from './attacks/kernel-files.ts';
import { otherAttacks } from './attacks/others.ts';
import type { Attempt, InsideAttack } from './support/attack.ts';
import { type Canary, makeCanary } from './support/canary.ts';
import { isPossible, proofsOf } from './support/proofs.ts';
import { createSandboxes, type StrongSandbox } from './support/strong-sandbox.ts';
import { runInChroot, runWeakened } from './support/weak-sandbox.ts';

const attacks: readonly InsideAttack[] = [
  ...callAttacks,
  ...kernelFileAttacks,
  ...otherAttacks,
  ...agentAttacks,
  ...exhaustionAttacks,
];
const runner = ['python3', '-c', readFileSync(new URL('inside/attempt.py', import.meta.url), 'utf8')];
const attemptSchema = z.object({ name: z.string(), succeeded: z.boolean(), said: z.string() });

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`a hostile program under ${runtime}`, { skip }, () => {
    let server: TestServer;
    let canary: Canary;
    let strong: StrongSandbox;
    let attempts: ReadonlyMap<string, Attempt>;

    before(async () => {
      server = await startServer({ runtime, flags: smallLimits.flags });
      canary = await makeCanary();
      const alone = attacks.filter((attack) => attack.alone);
      const together = attacks.filter((attack) => !attack.alone);
      const memory = `memory=(${smallLimits.memoryMiB}, ${smallLimits.memoryMiB})`;
      const [first, ...others] = await createSandboxes(server, runtime, 1 + alone.length, memory);
      assert.ok(first);
      strong = first;
      await run(['mknod', join(strong.directory, 'rootfs', deviceNode), 'c', '1', '11']);
      const found = parse(await strong.run(runner, task(together)));
      for (const [index, attack] of alone.entries()) {
        const sandbox = others[index];
        assert.ok(sandbox);
        const attempt = parse(await sandbox.run(runner, task([attack])).catch(() => '')).get(attack.name);
        found.set(attack.name, attempt ?? { succeeded: false, said: await fate(sandbox) });
      }
      attempts = found;
    });
    after(async () => {
      await canary?.[Symbol.asyncDispose]();
      await server?.stop();
    });

    const task = (some: readonly InsideAttack[]): string =>
      JSON.stringify({
        given: { ...canary.given, deviceNode },
        attacks: some.map(({ name, program }) => ({ name, program })),
      });

    for (const { name, threat, [runtime]: expected } of attacks) {
      const outcome = 'open' in expected ? 'can' : 'cannot';
      test(`${outcome} ${name}`, () => {
        const attempt = attempts.get(name);
        assert.ok(attempt);
        const { succeeded, said } = attempt;
        record({ runtime, threat, name, said, ...('open' in expected ? expected : { by: expected.by }) });
        if ('open' in expected) return assert.ok(succeeded, `it is held now, and says ${said}`);
        assert.ok(!succeeded, `it succeeded, and says ${said}`);
        assert.match(said, expected.says);
      });
    }

    for (const { name, proof, attacks: some } of proofsOf(attacks, runtime)) {
      test(`could ${name}: ${some.map((attack) => attack.name).join('; ')}`, async (t) => {
        if (!(await isPossible(proof))) return t.skip('root has too little here to take this away');
        const input = task(some);
        const said =
          typeof proof === 'string'
            ? await runInChroot(strong, runner, input)
            : await runWeakened(strong, proof, canary, runner, input);
        const attempts = parse(said);
        for (const { name } of some) {
          const attempt = attempts.get(name);
          assert.ok(attempt?.succeeded, `${name}: ${attempt?.said}`);
        }
      });
    }
  });
}

/** In the sandbox: of the kernel's log, which holds no harm. */
const deviceNode = '/tmp/attack-device';

function parse(lines: string): Map<string, Attempt> {
  const attempts = lines
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => attemptSchema.parse(JSON.parse(line)));
  return new Map(attempts.map((attempt) => [attempt.name, attempt]));
}

/** What became of a sandbox in which an attack took along who would have told of it. */
const fate = (sandbox: StrongSandbox): Promise<string> =>
  sandbox.run(['true']).then(
    () => 'all its programs were killed',
    () => 'its sandbox was ended',
  );

/** For the table of `docs/security.md`. */
function record(outcome: object): void {
  const path = process.env.SKERRY_TEST_RECORD;
  if (path !== undefined) appendFileSync(path, `${JSON.stringify(outcome)}\n`);
}
