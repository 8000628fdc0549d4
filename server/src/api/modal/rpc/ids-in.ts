/** Which things of ours a call was about, as far as its messages say so at their top. */

/** As `ids.ts` makes them: what else a client writes where an id belongs is told to nobody. */
const ID = /^[a-z]{2,3}-[0-9A-Za-z]{1,64}$/;

/** The ids in fields of these messages that are named so, by the names of the fields. */
export function idsIn(messages: readonly object[]): Readonly<Record<string, string>> {
  const ids: Record<string, string> = {};
  for (const message of messages) {
    for (const [name, value] of Object.entries(message)) {
      if (name.endsWith('Id') && typeof value === 'string' && ID.test(value)) ids[name] = value;
    }
  }
  return ids;
}
