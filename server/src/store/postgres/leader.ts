/** What the database says of the server that leads. Beside `leadership.ts`, since a server that is the only one loads no client of PostgreSQL. */
import { z } from 'zod';

const leaderSchema = z.object({
  /** A name or an address that the other servers reach. */
  host: z.string(),
  port: z.number().int(),
  /** Of the key of its TLS certificate: `sha256:` and 64 hexadecimal digits. */
  fingerprint: z.string(),
});
/** Where the server listens that leads. */
export type Leader = z.infer<typeof leaderSchema>;

export const leaderAsText = (leader: Leader): string => JSON.stringify(leader);

/** @throws for what `leaderAsText` did not make */
export const leaderFrom = (text: string): Leader => leaderSchema.parse(JSON.parse(text));
