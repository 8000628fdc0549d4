/**
 * What a hostile program tries, in a sandbox as users have it and in one that is weakened in just the mechanism that holds it. There the attack must succeed:
 * one that could not would show nothing.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { runtimesToTest } from '../support/runtimes.ts';
import { agentAttacks } from './attacks/agent.ts';
import { callAttacks } from './attacks/calls.ts';
import { exhaustionAttacks } from './attacks/exhaustion.ts';
import { kernelFileAttacks } from './attacks/kernel-files.ts';
import { networkAttacks } from './attacks/network.ts';
import { otherAttacks } from './attacks/others.ts';
import type { InsideAttack } from './support/attack.ts';
import { isPossible, proofsOf } from './support/proofs.ts';
import { record } from './support/record.ts';
import { type Attempts, Target } from './support/target.ts';

const attacks: readonly InsideAttack[] = [
  ...callAttacks,
  ...kernelFileAttacks,
  ...otherAttacks,
  ...agentAttacks,
  ...networkAttacks,
  ...exhaustionAttacks,
];

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`a hostile program under ${runtime}`, { skip }, () => {
    let target: Target;
    let attempts: Attempts;

    before(async () => {
      target = await Target.open(runtime);
      attempts = await target.attack(attacks);
    });
    after(() => target?.[Symbol.asyncDispose]());

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

    for (const group of proofsOf(attacks, runtime)) {
      test(`could ${group.name}: ${group.attacks.map(({ name }) => name).join('; ')}`, async (t) => {
        if (!(await isPossible(group.proof))) return t.skip('root has too little here to take this away');
        const attempts = await target.prove(group);
        for (const { name } of group.attacks) {
          const attempt = attempts.get(name);
          assert.ok(attempt?.succeeded, `${name}: ${attempt?.said}`);
        }
      });
    }
  });
}
