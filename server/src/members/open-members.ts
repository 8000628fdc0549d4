/** What a server has that leads others which keep sandboxes: it gives them some, hears of these, and has calls about them answered there. */

import type { SandboxService } from '../sandboxes/sandbox-service.ts';
import type { AesVault } from '../secrets/vault.ts';
import type { Logger } from '../telemetry/logger.ts';
import { type Elsewhere, RequestForwarder } from '../transport/forward-requests.ts';
import type { Peer } from '../transport/peer-link.ts';
import { PeerSessions } from '../transport/peer-sessions.ts';
import type { HttpRoute } from '../transport/routes.ts';
import { elsewhereOf } from './elsewhere.ts';
import { MemberWatch } from './member-watch.ts';
import { PEER_PATIENCE_MS } from './peer-protocol.ts';
import { peerRoute } from './peer-route.ts';
import { MemberRegistry, type MemberRepository } from './registry.ts';

/** One of several servers, as an operator is shown it. */
export interface SharingServer {
  /** `HOST:PORT`; undefined for one that has let go. */
  readonly place: string | undefined;
  readonly leads: boolean;
  /** Whether it lives, as far as the database knows. */
  readonly lives: boolean;
  /** So many sandboxes it keeps. */
  readonly sandboxes: number;
}

export interface MembersParts {
  readonly rows: MemberRepository;
  readonly vault: Pick<AesVault, 'deriveKey'>;
  readonly dataDir: string;
  /** @see MemberWatchParts */
  readonly place: () => Peer | undefined;
  readonly logger: Logger;
  readonly now: () => number;
}

export interface OpenMembers {
  /** For the sandboxes; to be told of these with `watch`. */
  readonly keepers: MemberWatch;
  elsewhere(sandboxes: SandboxService): Elsewhere;
  /** All, this one first. */
  servers(sandboxes: SandboxService): readonly SharingServer[];
  /** What they ask this one. */
  route(sandboxes: SandboxService): HttpRoute;
  close(): void;
}

export function openMembers({ rows, vault, dataDir, place, logger, now }: MembersParts): OpenMembers {
  const key = vault.deriveKey('peers');
  const registry = new MemberRegistry(rows);
  const sessions = new PeerSessions({ logger });
  const forwarder = new RequestForwarder({ key, logger, patienceMs: PEER_PATIENCE_MS });
  const keepers = new MemberWatch({ registry, sessions, key, dataDir, place, logger, now });
  return {
    keepers,
    elsewhere: (sandboxes) =>
      elsewhereOf({
        ...{ sandboxes, forwarder, self: undefined, leader: () => undefined },
        peer: (member) => keepers.peer(member),
      }),
    servers: (sandboxes) => [
      { place: placeOf(place()), leads: true, lives: true, sandboxes: sandboxes.keptBy() },
      ...registry.known.map(({ id, peer, lives }) => ({
        ...{ place: placeOf(peer), leads: false, lives, sandboxes: sandboxes.keptBy(id) },
      })),
    ],
    route: (sandboxes) => peerRoute({ sandboxes, logger }),
    close() {
      keepers.close();
      forwarder.close();
      sessions.close();
    },
  };
}

const placeOf = (peer: Peer | undefined) => peer && `${peer.host}:${peer.port}`;
