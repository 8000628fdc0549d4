/** The token of whoever set a server up, which both APIs are called with. */
import { readFile } from 'node:fs/promises';
import { type TokenFile, tokenFilePath, tokenFileSchema } from '../../auth/token-file.ts';
import { TokenStore } from '../../auth/token-store.ts';
import type { Domain } from '../../sandboxes/testing/domain.ts';

/** The tokens of a domain, and the owner's as `token.json` has it. */
export async function openTokens({
  store,
  dataDir,
  vault,
}: Domain): Promise<{ readonly tokens: TokenStore; readonly token: TokenFile }> {
  const tokens = await TokenStore.open({ settings: store.settings, dataDir, vault, now: Date.now });
  const token = tokenFileSchema.parse(JSON.parse(await readFile(tokenFilePath(dataDir), 'utf8')));
  return { tokens, token };
}
