/** What must survive the server: messages that wait. `store/webhooks.ts` implements it. */

export interface Message {
  readonly id: string;
  readonly type: string;
  readonly body: string;
  /** Milliseconds since the epoch. */
  readonly createdAtMs: number;
}

/** Messages by the digest of the address that they are for, which may itself be a secret. */
export interface WaitingMessages {
  add(receiver: string, message: Message): void;
  remove(receiver: string, id: Message['id']): void;
  /** Oldest first. */
  list(receiver: string): Message[];
  /** Forgets those that are older, and those for nobody of these. @returns how many */
  forget(receivers: readonly string[], beforeMs: number): number;
}
