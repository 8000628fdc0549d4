/** The rows that tunnels are kept in, so that their URLs outlive the server. `store/tunnels.ts` implements this; a row goes when its sandbox ends. */
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
