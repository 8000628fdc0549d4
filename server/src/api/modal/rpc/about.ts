/** Which sandboxes a message of a client is about. */

/** Ids as `ids.ts` makes them, of sandboxes and of their tasks. The id of an exec of the control plane begins with that of its task. */
const SUBJECT = /^(?:sb|ta)-[0-9A-Za-z]{1,64}(?=$|\.)/;

/** The fields that hold these in requests of the clients; nested messages have none (a test looks). */
export const subjectFields: ReadonlySet<string> = new Set(['sandboxId', 'taskId', 'execId']);

/** The ids of sandboxes and tasks that a request names. */
export function aboutOf(message: object): readonly string[] {
  const ids: string[] = [];
  const look = (name: string, value: unknown) => {
    const id = subjectFields.has(name) && typeof value === 'string' ? SUBJECT.exec(value)?.[0] : undefined;
    if (id !== undefined) ids.push(id);
  };
  for (const [name, value] of Object.entries(message)) {
    if (isChoice(value)) look(value.case, value.value);
    else look(name, value);
  }
  return ids;
}

/** How protobuf-es has a `oneof`. */
const isChoice = (value: unknown): value is { readonly case: string; readonly value: unknown } =>
  typeof value === 'object' && value !== null && 'case' in value && typeof value.case === 'string';
