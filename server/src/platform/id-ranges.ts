/**
 * Ids of users and groups that are a sandbox's own on this machine: each network slot of each server has 65,536 of them, so that nothing the kernel counts for each user is
 * shared. They begin where no distribution gives any: above those of systemd's containers and below what is negative as a signed number
 * (https://systemd.io/UIDS-GIDS, "unused").
 */

/** So many each, from 0 on inside. */
export const IDS_EACH = 65_536;
const FIRST = 0x7000_0000;
/** Up to systemd's ids for files of others, 0x7FFE0000. */
const RANGES = 0x0ffe;

/** Slots with a range that no other slot of the server has are numbered up to this. */
export const LAST_SLOT_WITH_IDS = RANGES;

/** The first id of a slot. Where it begins depends on the server, so that two of them on a machine rarely have the same. @param instance hexadecimal */
export const firstIdOf = (instance: string, slot: number): number =>
  FIRST + ((Number.parseInt(instance, 16) + slot) % RANGES) * IDS_EACH;

/** Whom an id that there is none for belongs to. */
const NOBODY = 65_534;

/** What an id inside is on the machine. @param firstId what 0 is; undefined where they are the machine's */
export const idOutside = (firstId: number | undefined, id: number): number =>
  firstId === undefined ? id : firstId + (id < IDS_EACH ? id : NOBODY);

/** The lines of /etc/subuid or /etc/subgid by which somebody else may have been given such ids, subuid(5). */
export function givenToOthers(text: string): string[] {
  return text.split('\n').filter((line) => {
    const [, first = '', count = ''] = line.split(':');
    const [from, until] = [Number(first), Number(first) + Number(count)];
    return first !== '' && from < FIRST + RANGES * IDS_EACH && until > FIRST;
  });
}
