import assert from 'node:assert/strict';
import { SkerryError } from '../../errors/skerry-error.ts';

/** For `assert.throws`: beside what an error is, that nothing of it has a secret. */
export const failsWith =
  (code: SkerryError['code'], text: RegExp, secret: string) =>
  (error: unknown): true => {
    assert.ok(error instanceof SkerryError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, text);
    assert.ok(!`${error.stack} ${JSON.stringify(error)} ${String(error.cause)}`.includes(secret));
    return true;
  };

/** A first connection that failed is tried again a second later. */
export async function untilAnswering(work: () => void): Promise<void> {
  const deadline = performance.now() + 30_000;
  for (;;) {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof SkerryError) || performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
