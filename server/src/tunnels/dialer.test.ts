import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { describe, it } from 'node:test';
import { SkerryError } from '../errors/skerry-error.ts';
import { delay } from '../platform/wait.ts';
import { Dialer } from './dialer.ts';

const refused = () => new SkerryError('connection-refused', 'Nothing listens.');
const forever = () => new AbortController().signal;

describe('a dialer', () => {
  it('lets a connection that is being made take longer than a server may take to listen', async () => {
    const stream = new PassThrough();
    const connect = async (_port: number, signal: AbortSignal) => {
      await delay(100, signal);
      return stream;
    };
    assert.equal(await new Dialer({ connect }, 80, 1).dial(forever()), stream);
  });

  it('asks for one who waits at a time, and serves all once somebody listens', async () => {
    let listens = false;
    let asking = 0;
    let most = 0;
    const arrived = Promise.withResolvers<void>();
    let refusals = 0;
    const connect = async () => {
      most = Math.max(most, ++asking);
      await delay(1);
      asking--;
      if (listens) return new PassThrough();
      // All have asked once, at the same time, before they wait.
      if (++refusals === 20) {
        most = 0;
        arrived.resolve();
      }
      throw refused();
    };
    const dialer = new Dialer({ connect }, 80, 60_000);
    const dialled = Array.from({ length: 20 }, () => dialer.dial(forever()));
    await arrived.promise;
    listens = true;
    assert.equal((await Promise.all(dialled)).length, 20);
    assert.equal(most, 1);
  });

  it('says why nobody was reached, and stops when nobody waits any more', async () => {
    let asked = 0;
    const connect = async () => {
      asked++;
      throw refused();
    };
    const dialer = new Dialer({ connect }, 80, 100);
    await assert.rejects(dialer.dial(forever()), { code: 'connection-refused' });
    const gone = new AbortController();
    const waiting = new Dialer({ connect }, 80, 60_000).dial(gone.signal);
    gone.abort();
    await assert.rejects(waiting, { name: 'AbortError' });
    const before = asked;
    await delay(200); // longer than the pause between two tries
    assert.ok(asked <= before + 1);
  });

  it('passes on at once what waiting does not mend', async () => {
    const connect = () => Promise.reject(new SkerryError('sandbox-ended', 'It has ended.'));
    await assert.rejects(new Dialer({ connect }, 80, 60_000).dial(forever()), { code: 'sandbox-ended' });
  });
});
