/** By which names a GPU may be asked for: those that Modal's users know (https://modal.com/docs/guide/gpu), and for others their own. */

/** Words of a model's name that say nothing of its type. */
const NOISE =
  /\b(nvidia|amd|tesla|quadro|geforce|radeon|instinct|graphics|\d+ ?gb|pcie?|sxm\d?|hbm\d?e?|nvl|server edition)\b/gi;

/**
 * The types of a model as its driver names it ("NVIDIA A100-SXM4-80GB", "Tesla T4"), the most exact first: by that one it is called.
 * Empty for a name with nothing to go by.
 */
export function typesOfModel(model: string): readonly string[] {
  const plain = canonicalType(
    model
      .replace(NOISE, ' ')
      .trim()
      .replace(/[\s_-]+/g, '-')
      .replace(/^-|-$/g, ''),
  );
  if (plain === '') return [];
  if (plain === 'A100') {
    const size = /\b(40|80) ?gb\b/i.exec(model)?.[1];
    return size === undefined ? ['A100'] : [`A100-${size}GB`, 'A100'];
  }
  return withWider(plain);
}

/** The types of a GPU whose type somebody named by hand. */
export const typesOfName = (name: string): readonly string[] => withWider(canonicalType(name));

const canonicalType = (type: string): string => type.trim().toUpperCase();

/** What is sold under a wider name as well: Modal's A10 are A10G, and B200+ may be a B300. */
function withWider(type: string): readonly string[] {
  switch (type) {
    case 'A10G':
      return ['A10G', 'A10'];
    case 'A100-40GB':
    case 'A100-80GB':
      return [type, 'A100'];
    case 'RTX-PRO-6000-BLACKWELL':
      return ['RTX-PRO-6000'];
    case 'B200':
    case 'B300':
      return [type, 'B200+'];
    default:
      return [type];
  }
}
