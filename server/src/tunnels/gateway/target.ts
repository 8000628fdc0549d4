import type { Duplex } from 'node:stream';
import type { SandboxId } from '../../ids.ts';

/** What a gateway is for. */
export interface GatewayTarget {
  readonly sandboxId: SandboxId;
  /** In the sandbox. */
  readonly port: number;
  /** Whether the host it is reached at is also that of others, at other ports: for browsers cookies are the host's, not the port's. */
  readonly host: 'own' | 'shared';
  /** Waits for the program to listen. @throws SkerryError as `Dialer.dial` */
  connect(signal: AbortSignal): Promise<Duplex>;
}
