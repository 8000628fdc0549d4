/** Answers other servers about the sandboxes that this one keeps (`peer-protocol.ts`). */
import { once } from 'node:events';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import { pipeline } from 'node:stream/promises';
import { SkerryError, toSkerryError } from '../errors/skerry-error.ts';
import { isSandboxId, type SandboxId } from '../ids.ts';
import type { LifeEntry } from '../sandboxes/life-log.ts';
import type { Sandbox } from '../sandboxes/sandboxes.ts';
import type { Logger } from '../telemetry/logger.ts';
import { forwardedOf } from '../transport/forwarded.ts';
import { type HttpRoute, nothingHere, pathOf } from '../transport/routes.ts';
import { entryLine, PEER_PREFIX, type PeerFailure } from './peer-protocol.ts';

export interface PeerRouteDeps {
  readonly sandboxes: {
    begin(id: SandboxId): void;
    keeps(id: SandboxId): boolean;
    get(id: SandboxId): Sandbox;
    follow(follower: (entry: LifeEntry) => void): () => void;
  };
  readonly logger: Logger;
}

/** What waits for an answer is asked again before connections are taken for dead. */
const MAX_WAIT_MS = 60_000;
/** Of what happened, that one who reads it slowly has not had yet. More, and it is cut: it asks the store. */
const MAX_BEHIND = 1 << 20;

/** The route; it never rejects. Whoever has not the servers' key finds nothing. */
export function peerRoute({ sandboxes, logger }: PeerRouteDeps): HttpRoute {
  async function answer(request: Http2ServerRequest, response: Http2ServerResponse): Promise<void> {
    const [what = '', id = '', ...more] = pathOf(request)
      .slice(PEER_PREFIX.length + 1)
      .split('/');
    const call = more.length === 0 ? `${request.method} ${what}` : '';
    const number = numberIn(request.url);
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    if (call === 'GET life') return life(response);
    if (!isSandboxId(id)) throw new SkerryError('not-found', 'There is no such sandbox.');
    switch (call) {
      case 'POST begin':
        sandboxes.begin(id);
        return json(response, {});
      case 'POST terminate':
        await its(id).terminate();
        return json(response, {});
      case 'GET wait':
        return json(response, { result: await its(id).wait(Math.min(number, MAX_WAIT_MS), gone.signal) });
      case 'GET usage':
        return json(response, { usage: await its(id).usage() });
      case 'GET stdout':
      case 'GET stderr': {
        const reader = its(id)[what === 'stdout' ? 'stdout' : 'stderr'];
        response.writeHead(200); // also before there is anything of it
        return pipeline(reader.read(number, gone.signal), response);
      }
      case 'POST connect': {
        const connection = await its(id).connect(number, gone.signal);
        response.writeHead(200); // also before there is anything of it
        await Promise.all([pipeline(request, connection), pipeline(connection, response)]);
        return;
      }
      default:
        throw new SkerryError('not-found', 'There is no such call.');
    }
  }

  /** Ended ones are as good: they say so. */
  const its = (id: SandboxId): Sandbox => {
    const sandbox = sandboxes.get(id);
    if (sandbox.state === 'ended' || sandboxes.keeps(id)) return sandbox;
    throw new SkerryError('unavailable', 'Another server has just begun to keep this sandbox.');
  };

  async function life(response: Http2ServerResponse): Promise<void> {
    const unfollow = sandboxes.follow((entry) => {
      if (response.writableLength > MAX_BEHIND) response.stream.destroy();
      else response.write(entryLine(entry));
    });
    response.writeHead(200);
    response.write('\n');
    await once(response, 'close').finally(unfollow);
  }

  return {
    prefix: PEER_PREFIX,
    here: true,
    async handle(request, response) {
      // Servers speak HTTP/2 to each other.
      if (!forwardedOf(request) || !('stream' in response) || !('stream' in request))
        return nothingHere(response);
      try {
        await answer(request, response);
      } catch (thrown) {
        if (response.headersSent) {
          response.stream.destroy();
          return;
        }
        const { code, message } = toSkerryError(thrown);
        if (code === 'internal') logger.error({ err: thrown }, 'peer.call-failed');
        const failure: PeerFailure = { code, message };
        json(response, failure, 500);
      }
    },
  };
}

function json(response: Http2ServerResponse, body: object, status = 200): void {
  response.writeHead(status);
  response.end(JSON.stringify(body));
}

/** What is behind the question mark. @throws SkerryError `invalid-argument` */
function numberIn(url: string): number {
  const text = url.split('?', 2)[1] ?? '0';
  if (!/^\d{1,15}$/.test(text)) throw new SkerryError('invalid-argument', 'That is no number.');
  return Number(text);
}
