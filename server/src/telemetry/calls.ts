/** What became of the calls of every interface: each is told of once, when it is over. */

/** `modal`: the control plane; `sandbox`: the command router of a sandbox; the others are HTTP. */
export type ApiName = 'modal' | 'sandbox' | 'rest' | 'modbox';

export interface FinishedCall {
  readonly api: ApiName;
  /** An RPC of the schema, or method and pattern of a route: never what a client wrote. */
  readonly method: string;
  /** The name of a gRPC status, or an HTTP status. */
  readonly status: string;
  readonly durationMs: number;
}

export type CallListener = (call: FinishedCall) => void;
