/** Ports of sandboxes that are open to the outside, as the API sees them. `tunnel-service.ts` implements it. */
import type { Sandbox } from '../sandboxes/sandboxes.ts';

/** Where a client connects to. */
export interface Endpoint {
  /** A name or an address. */
  readonly host: string;
  readonly port: number;
}

export interface Tunnel {
  /** The port in the sandbox. */
  readonly containerPort: number;
  /** With TLS. */
  readonly encrypted: Endpoint;
  /** Without TLS, where that was asked for. */
  readonly plain: Endpoint | undefined;
}

/** What of a sandbox its tunnels need. */
export type TunnelledSandbox = Pick<Sandbox, 'taskId' | 'spec' | 'state' | 'connect' | 'waitUntilRunning'>;

export interface Tunnels {
  /**
   * The tunnels of a sandbox, which are the same for as long as it runs, also under another server; none for one that asked for none. Waits for one that
   * starts, and gives undefined when it does not run after `timeoutMs`.
   * @throws SkerryError `sandbox-ended`; `resource-exhausted` when no port is left; `unavailable` when none can be listened on
   */
  of(
    sandbox: TunnelledSandbox,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<readonly Tunnel[] | undefined>;
}
