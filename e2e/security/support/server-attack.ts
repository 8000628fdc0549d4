/** Attacks on parts of the server that need no sandbox: each is made against the part as it is and against one without its check. */
import { Code, ConnectError } from '@connectrpc/connect';
import type { Attempt, Threat } from './attack.ts';

export interface ServerAttack {
  /** What it tries to do. */
  readonly name: string;
  readonly threat: Threat;
  /** What it must say when it is held. */
  readonly says: RegExp;
  /** The check that holds it. */
  readonly by: string;
  /** Takes long where nothing holds it: that is tried by `npm run test:attacks` alone. */
  readonly long?: true;
  /** Resolves with what it says when it succeeds, rejects with what holds it. @param checked whether the check is there */
  readonly attempt: (checked: boolean) => Promise<string>;
}

export const onControlPlane = (
  name: string,
  says: RegExp,
  by: string,
  attempt: ServerAttack['attempt'],
): ServerAttack => ({ name, threat: 'control plane', says, by, attempt });

export async function attempted(attack: ServerAttack, checked: boolean): Promise<Attempt> {
  try {
    return { succeeded: true, said: await attack.attempt(checked) };
  } catch (error) {
    return { succeeded: false, said: wordsOf(error) };
  }
}

function wordsOf(error: unknown): string {
  if (error instanceof ConnectError) return `${Code[error.code]}: ${error.rawMessage}`;
  return error instanceof Error ? error.message : String(error);
}
