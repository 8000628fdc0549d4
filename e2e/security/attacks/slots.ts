/** What a sandbox gets of the one that had its address on the machine before. */
import { fileURLToPath } from 'node:url';
import { connectionsBinaryPath } from '../../../server/src/agent/agent-binary.ts';
import { Lab } from '../../../server/src/network/testing/lab.ts';
import type { ServerAttack } from '../support/server-attack.ts';

const HOST = fileURLToPath(new URL('../../../server/src/network/testing/reused-host.ts', import.meta.url));
/** Documentation addresses (RFC 5737) are nobody's own. */
const ADDRESSES = { host: '198.51.100.1', outside: '198.51.100.2' };

export const slotAttacks: readonly ServerAttack[] = [
  {
    name: 'get what was sent to the sandbox that had its address before',
    threat: 'network',
    says: /^nothing of it arrived/,
    by: 'what the kernel knows of its connections goes with a sandbox',
    attempt: async (checked) => {
      await using done = new AsyncDisposableStack();
      const [host, outside] = [`skerry-slot-${process.pid}-h`, `skerry-slot-${process.pid}-o`];
      const lab = await Lab.open({ after: (end) => void done.defer(end) }, [host, outside]);
      await lab.connect(outside, [ADDRESSES.host, ADDRESSES.outside]);
      const program = checked ? connectionsBinaryPath() : '/bin/true';
      const args = [lab.directory, outside, JSON.stringify(ADDRESSES), program];
      const { received } = (await lab.play(HOST, args)) as { received: number }; // what the program prints
      if (received === 0) throw new Error('nothing of it arrived');
      return 'the next datagram arrived';
    },
  },
];
