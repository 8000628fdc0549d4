/**
 * HELLO of `agent/PROTOCOL.md`: who an agent is. It may be years older or newer than this server: a sandbox outlives the server that made it, and a checkpoint
 * keeps the agent that it was made with. Both go on in the newest version that both speak.
 */
import { z } from 'zod';
import { SkerryError } from '../errors/skerry-error.ts';
import { parse, pid } from './messages.ts';

/** Versions of the protocol, both inclusive. */
export interface VersionRange {
  readonly oldest: number;
  readonly newest: number;
}

/** What this server speaks. */
export const VERSIONS: VersionRange = { oldest: 1, newest: 1 };

/** What was added to the protocol without a new version, and what it is for. */
const features = {
  dial: 'connect to a port of its sandbox',
  checkpoint: 'go on after a snapshot of the memory',
  files: 'give its files away',
  environment: 'say what its runtime gave it',
  nameserver: 'have its programs ask somebody else for names',
} as const;
export type Feature = keyof typeof features;
export const FEATURES = Object.keys(features) as readonly Feature[]; // an object literal has no other keys

/** An agent as this server goes on with it. */
export interface Peer {
  /** The version of what follows. */
  readonly version: number;
  /** What it says that it can do; may hold words that this server does not know. */
  readonly features: ReadonlySet<string>;
}

const version = z.number().int().min(1).max(0xffff);

const helloSchema = z
  .object({
    version,
    maxVersion: version.optional(),
    features: z
      .array(z.string().regex(/^[a-z0-9-]{1,24}$/))
      .max(32)
      .default([]),
    pid,
  })
  .refine(({ version: oldest, maxVersion: newest = oldest }) => oldest <= newest);

/**
 * Meets an agent by its HELLO.
 * @param own what this server speaks
 * @throws SkerryError `internal` for what is no HELLO, `unimplemented` when there is no version that both speak
 */
export function meet(json: string, own: VersionRange = VERSIONS): Peer {
  const hello = parse(helloSchema, json, 'HELLO');
  const its = { oldest: hello.version, newest: hello.maxVersion ?? hello.version };
  const newest = Math.min(own.newest, its.newest);
  if (newest < Math.max(own.oldest, its.oldest)) {
    throw new SkerryError(
      'unimplemented',
      `The sandbox's agent speaks ${inWords(its)} of the agent protocol, and this server ${inWords(own)}.`,
    );
  }
  return { version: newest, features: new Set(hello.features) };
}

/** Meets one agent again and again, which says the same on each of its connections: only what is new is looked at. @throws as `meet` */
export function meetAgain(): (json: string) => Peer {
  let last: { readonly json: string; readonly peer: Peer } | undefined;
  return (json) => {
    if (last?.json !== json) last = { json, peer: meet(json) };
    return last.peer;
  };
}

/** @throws SkerryError `unimplemented` when the agent cannot do that */
export function requireFeature(peer: Peer, feature: Feature): void {
  if (peer.features.has(feature)) return;
  throw new SkerryError(
    'unimplemented',
    `The agent of this sandbox is of an older version, which cannot ${features[feature]}. That of a new sandbox can.`,
  );
}

const inWords = ({ oldest, newest }: VersionRange): string =>
  oldest === newest ? `version ${oldest}` : `versions ${oldest} to ${newest}`;
