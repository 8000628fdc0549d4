/** Which of several servers answers a call. */
import type { MemberId } from '../ids.ts';
import type { SandboxService } from '../sandboxes/sandbox-service.ts';
import type { Elsewhere, RequestForwarder } from '../transport/forward-requests.ts';
import type { Peer } from '../transport/peer-link.ts';
import { isAboutPorts } from './no-ports.ts';

export interface ElsewhereParts {
  readonly sandboxes: Pick<SandboxService, 'keeps' | 'memberOf'>;
  readonly forwarder: RequestForwarder;
  /** This one; undefined: it leads. */
  readonly self: MemberId | undefined;
  readonly peer: (member: MemberId) => Peer | undefined;
  /** Who leads; undefined: this one does. */
  readonly leader: () => Peer | undefined;
}

/** What is about a sandbox is for whoever keeps it, all else and what is about its ports for the one that leads. */
export const elsewhereOf = ({ sandboxes, forwarder, self, peer, leader }: ElsewhereParts): Elsewhere => ({
  forwarder,
  peerOf(about, call) {
    if (isAboutPorts(call)) return leader();
    for (const each of about) {
      if (sandboxes.keeps(each)) return undefined;
      const member = sandboxes.memberOf(each);
      if (member !== undefined) return member === self ? undefined : peer(member);
    }
    return leader();
  },
});
