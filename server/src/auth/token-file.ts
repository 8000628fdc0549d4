/** `<dataDir>/token.json`: the owner's token, for the commands of this machine to read. By the small half of the schema library, since they load it each time. */
import { join } from 'node:path';
import * as z from 'zod/mini';

export const tokenFileSchema = z.object({
  tokenId: z.string().check(z.regex(/^ak-[0-9A-Za-z]{22}$/)),
  tokenSecret: z.string().check(z.regex(/^as-[0-9a-f]{64}$/)),
  /** The bearer key of the REST API for this token. */
  apiKey: z.string(),
});
export type TokenFile = z.infer<typeof tokenFileSchema>;

export const tokenFilePath = (dataDir: string): string => join(dataDir, 'token.json');
