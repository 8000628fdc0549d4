/** What hostile clients and images try against the server itself, and against parts of it without the check that holds them: there it must succeed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fromAgentAttacks } from './attacks/from-agent.ts';
import { layerAttacks } from './attacks/layers.ts';
import { logAttacks } from './attacks/logs.ts';
import { messageAttacks } from './attacks/messages.ts';
import { registryAttacks } from './attacks/registries.ts';
import { slotAttacks } from './attacks/slots.ts';
import { tokenAttacks } from './attacks/tokens.ts';
import { treeAttacks } from './attacks/trees.ts';
import { record } from './support/record.ts';
import { attempted, type ServerAttack } from './support/server-attack.ts';

for (const attack of [
  ...tokenAttacks,
  ...fromAgentAttacks,
  ...messageAttacks,
  ...layerAttacks,
  ...registryAttacks,
  ...slotAttacks,
  ...treeAttacks,
  ...logAttacks,
]) {
  const { name, threat, by, says } = attack;
  test(`cannot ${name}`, async () => {
    const { succeeded, said } = await attempted(attack, true);
    record({ threat, name, by, said });
    assert.ok(!succeeded, `it succeeded, and says ${said}`);
    assert.match(said, says);
  });

  test(`could ${name}, without this: ${by}`, { skip: skipped(attack) }, async () => {
    const { succeeded, said } = await attempted(attack, false);
    assert.ok(succeeded, said);
  });
}

function skipped({ long }: ServerAttack): string | false {
  return long && process.env.SKERRY_TEST_ATTACKS !== 'all' ? '`npm run test:attacks` runs it' : false;
}
