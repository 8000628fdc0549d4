/** The rows that tunnels and gateways are kept in, so that their URLs outlive the server. `store/tunnels.ts` and `store/gateways.ts` implement this; a row goes when its sandbox ends. */
import type { TaskId } from '../ids.ts';

export interface TunnelRow {
  readonly taskId: TaskId;
  /** The port in the sandbox. */
  readonly containerPort: number;
  /** The label below the domain by which it is reached with TLS; undefined for one that has a port for that. */
  readonly name: string | undefined;
  readonly tlsPort: number | undefined;
  /** Where it is reached without TLS. */
  readonly plainPort: number | undefined;
}

export interface TunnelRepository {
  /** The tunnels of all sandboxes that have not ended. */
  all(): readonly TunnelRow[];
  /** In place of whatever the sandbox had, all or none. */
  replace(taskId: TaskId, rows: readonly TunnelRow[]): void;
}

export interface GatewayRow {
  readonly taskId: TaskId;
  /** The port in the sandbox. */
  readonly containerPort: number;
  /** The label below the domain by which it is reached; undefined for one that has a port of the machine. */
  readonly name: string | undefined;
  readonly port: number | undefined;
}

export interface GatewayRepository {
  /** Those of all sandboxes that have not ended. */
  all(): readonly GatewayRow[];
  /** In place of the one for that port of the sandbox. */
  put(row: GatewayRow): void;
  /** Those of a sandbox. */
  forget(taskId: TaskId): void;
}
