/** The errors of calls about a sandbox, in the same words whether it lives or is read from the store. */
import type { RuntimeName } from '../engines/engine.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import type { ProcessId, SandboxId } from '../ids.ts';
import { describeResult } from './result-text.ts';
import type { SandboxSpec } from './spec.ts';
import type { SandboxResult } from './state.ts';

interface Labelled {
  readonly id: SandboxId;
  readonly spec: SandboxSpec;
}

/** The error of what needs a running sandbox. Programs look for "already completed". `what` is what its callers know it by. */
export function sandboxEnded(
  { id, result }: { readonly id: SandboxId; readonly result: SandboxResult | undefined },
  what = `Sandbox ${id}`,
): SkerryError {
  const why = result ? `: ${describeResult(result).replace(/\.$/, '')}` : '';
  return new SkerryError('sandbox-ended', `${what} has already completed${why}.`);
}

/** What callers know a sandbox or sidecar by. */
export const labelOf = ({ id, spec }: Labelled): string =>
  spec.sidecarOf ? `Sidecar '${spec.sidecarOf.name}' of ${spec.sidecarOf.sandboxId}` : `Sandbox ${id}`;

/** The error of a snapshot of the memory that the sandbox was not created for. */
export const notForSnapshots = (): SkerryError =>
  new SkerryError(
    'conflict',
    'No snapshot of the memory of this sandbox can be taken: create it with _experimental_enable_snapshot.',
  );

/** The error of what needs the memory of one whose runtime cannot give it. */
export const noCheckpoints = ({ runtime }: { readonly runtime: RuntimeName }): SkerryError =>
  new SkerryError(
    'unimplemented',
    `The memory of sandboxes can be kept and copied under gVisor alone, and this one runs under ${runtime}: create it with the runtime gvisor (\`skerry doctor\` says whether this machine has it).`,
  );

/** The error of suspending a sandbox that somebody uses. */
export const inUse = (): SkerryError =>
  new SkerryError(
    'conflict',
    'The sandbox cannot be suspended while programs run that exec began, or connections to its ports are open: end them first.',
  );

/** The error of a readiness probe that did not succeed in the time its caller gave it. */
export const notReadyWithin = (timeoutMs: number): SkerryError =>
  new SkerryError('deadline-exceeded', `The readiness probe did not succeed within ${timeoutMs / 1000} s.`);

/** The clients document the end of a sandbox as a conflict for its name and its readiness, and as not found for the rest. */
export const endedConflict = (ended: SkerryError): SkerryError => new SkerryError('conflict', ended.message);

export const noProbe = (): SkerryError =>
  new SkerryError('conflict', 'The sandbox was created without a readiness probe.');

export const noSecretHeaders = (sandbox: Labelled): SkerryError =>
  new SkerryError(
    'conflict',
    `${labelOf(sandbox)} was created without an outbound policy: what its programs trust is set up then and not later.`,
  );

/** The error of a second name. */
export const alreadyNamed = (name: string): SkerryError =>
  new SkerryError('conflict', `The sandbox already has the name '${name}'.`);

/** The error of a name that another running sandbox of the app has. */
export const nameTaken = (name: string): SkerryError =>
  new SkerryError('already-exists', `A running sandbox named '${name}' already exists in this app.`);

export const noProcess = (sandbox: Labelled, id: ProcessId): SkerryError =>
  new SkerryError('not-found', `${labelOf(sandbox)} has no process ${id}.`);
