/** Messages that wait for addresses of the operator's. */
import { z } from 'zod';
import type { Message, WaitingMessages } from '../webhooks/repositories.ts';
import type { Database } from './database.ts';

const rowSchema = z.object({
  id: z.string(),
  type: z.string(),
  body: z.string(),
  created_at_ms: z.number(),
});

export class SqlWebhookMessages implements WaitingMessages {
  readonly #add;
  readonly #remove;
  readonly #list;
  readonly #forget;

  constructor(database: Database) {
    this.#add = database.prepare(
      'INSERT INTO webhook_messages (receiver, id, type, body, created_at_ms) VALUES (?, ?, ?, ?, ?)',
    );
    this.#remove = database.prepare('DELETE FROM webhook_messages WHERE receiver = ? AND id = ?');
    this.#list = database.prepare('SELECT * FROM webhook_messages WHERE receiver = ? ORDER BY seq');
    this.#forget = database.prepare(
      'DELETE FROM webhook_messages WHERE created_at_ms < ? OR receiver NOT IN (SELECT value FROM json_each(?))',
    );
  }

  add(receiver: string, { id, type, body, createdAtMs }: Message): void {
    this.#add.run(receiver, id, type, body, createdAtMs);
  }

  remove(receiver: string, id: Message['id']): void {
    this.#remove.run(receiver, id);
  }

  list(receiver: string): Message[] {
    return this.#list.all(receiver).map((raw) => {
      const { created_at_ms: createdAtMs, ...message } = rowSchema.parse(raw);
      return { ...message, createdAtMs };
    });
  }

  forget(receivers: readonly string[], beforeMs: number): number {
    return Number(this.#forget.run(beforeMs, JSON.stringify(receivers)).changes);
  }
}
