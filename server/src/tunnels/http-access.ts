/** HTTP to ports of sandboxes for those who have a token, as the API sees it. `gateway-service.ts` implements it. */
import type { Sandbox } from '../sandboxes/sandboxes.ts';
import type { TunnelledSandbox } from './tunnels.ts';

export interface ConnectCredentials {
  /** The same for a port of a sandbox for as long as that lives, also under another server. */
  readonly url: string;
  /** Good for a day. */
  readonly token: string;
}

export interface ConnectRequest {
  /** In the sandbox; need not have been asked for when that was created. */
  readonly port: number;
  /** What the program there is told of whoever uses the token; undefined: nothing. */
  readonly userMetadata: string | undefined;
}

export interface HttpAccess {
  /**
   * A new token, and where to use it. The sandbox need not run yet, nor anything listen there.
   * @throws SkerryError `invalid-argument` for the port or the metadata; `sandbox-ended`; `resource-exhausted` when no port of the machine is left, or the sandbox
   * has too many; `unavailable` when none can be listened on
   */
  credentials(
    sandbox: TunnelledSandbox & Pick<Sandbox, 'id' | 'result'>,
    request: ConnectRequest,
  ): Promise<ConnectCredentials>;
}
