/** Attacks that are held, by the way in which they are shown to succeed: those with one way go together. */
import type { InsideAttack, Proof, Runtime } from './attack.ts';

export interface ProofGroup {
  readonly name: string;
  readonly proof: Exclude<Proof, 'runc'>;
  readonly attacks: readonly InsideAttack[];
}

export function proofsOf(all: readonly InsideAttack[], runtime: Runtime): readonly ProofGroup[] {
  const groups = new Map<string, { proof: ProofGroup['proof']; attacks: InsideAttack[] }>();
  for (const attack of all) {
    const { [runtime]: expected } = attack;
    if ('open' in expected || expected.proof === 'runc') continue;
    const { proof } = expected;
    const name = nameOf(proof);
    const known = groups.get(name);
    if (known) known.attacks.push(attack);
    else groups.set(name, { proof, attacks: [attack] });
  }
  return [...groups].map(([name, group]) => ({ name, ...group }));
}

function nameOf(proof: ProofGroup['proof']): string {
  if (typeof proof === 'string') return `in ${proof}`;
  return 'hole' in proof ? proof.hole : proof.map((weakening) => weakening.name).join(' and ');
}

/** Whether it can be shown here. */
export async function isPossible(proof: Proof): Promise<boolean> {
  if (typeof proof === 'string' || 'hole' in proof) return true;
  const each = await Promise.all(proof.map(({ possible }) => possible?.() ?? true));
  return each.every(Boolean);
}
