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
import { kernelFileAttacks } from './attacks/kernel-files.ts';
import { otherAttacks } from './attacks/others.ts';
import type { Attempt, InsideAttack } from './support/attack.ts';
import { type Canary, makeCanary } from './support/canary.ts';
import { createSandbox, type StrongSandbox } from './support/strong-sandbox.ts';
import { runInChroot, runWeakened } from './support/weak-sandbox.ts';

const attacks: readonly InsideAttack[] = [
  ...callAttacks,
  ...kernelFileAttacks,
  ...otherAttacks,
  ...agentAttacks,
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
      server = await startServer({ runtime });
      canary = await makeCanary();
      strong = await createSandbox(server, runtime);
      await run(['mknod', join(strong.directory, 'rootfs', deviceNode), 'c', '1', '11']);
      attempts = parse(await strong.run(runner, task(attacks)));
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

    for (const [proof, { some, perform }] of proofs(attacks)) {
      test(`could ${proof}: ${some.map(({ name }) => name).join('; ')}`, async () => {
        const attempts = parse(await perform(task(some)));
        for (const { name } of some) {
          const attempt = attempts.get(name);
          assert.ok(attempt?.succeeded, `${name}: ${attempt?.said}`);
        }
      });
    }

    /** Attacks that are shown to succeed in the same way, and that way. */
    function proofs(all: readonly InsideAttack[]) {
      const found = new Map<string, { some: InsideAttack[]; perform: (input: string) => Promise<string> }>();
      for (const attack of all) {
        const { [runtime]: expected } = attack;
        if ('open' in expected || expected.proof === 'runc') continue;
        const { proof } = expected;
        const name =
          typeof proof === 'string' ? `in ${proof}` : proof.map((weakening) => weakening.name).join(' and ');
        const perform = (input: string) =>
          typeof proof === 'string'
            ? runInChroot(strong, runner, input)
            : runWeakened(strong, proof, canary, runner, input);
        const known = found.get(name);
        if (known) known.some.push(attack);
        else found.set(name, { some: [attack], perform });
      }
      return found;
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

/** For the table of `docs/security.md`. */
function record(outcome: object): void {
  const path = process.env.SKERRY_TEST_RECORD;
  if (path !== undefined) appendFileSync(path, `${JSON.stringify(outcome)}\n`);
}
