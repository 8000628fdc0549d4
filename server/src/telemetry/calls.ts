/** What became of the calls of every interface: each is told of once, when it is over. */

import type { CallSpan } from './tracing.ts';

/** `modal`: the control plane; `sandbox`: the command router of a sandbox; the others are HTTP, `operator` what the `skerry` command asks. */
export type ApiName = 'modal' | 'sandbox' | 'rest' | 'modbox' | 'operator';

export interface FinishedCall {
  readonly api: ApiName;
  /** An RPC of the schema, or method and pattern of a route: never what a client wrote. */
  readonly method: string;
  /** The name of a gRPC status, or an HTTP status. */
  readonly status: string;
  readonly durationMs: number;
  /** The id of the token that it was made with, or of the one by which the sandbox was opened; undefined for nobody's. */
  readonly caller: string | undefined;
  /** What it was about, by what each id is of. */
  readonly subjects: Readonly<Record<string, string>>;
  /** Where there are traces. */
  readonly span?: CallSpan;
}

export type CallListener = (call: FinishedCall) => void;
