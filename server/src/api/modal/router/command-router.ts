/**
 * The data plane of a sandbox: processes, their input and output, readiness, snapshots. Every call carries a token that opens one sandbox.
 * Facts: docs/protocol/command-router.md.
 */

import { create, type DescMessage, type MessageShape } from '@bufbuild/protobuf';
import type { HandlerContext, ServiceImpl } from '@connectrpc/connect';
import { SkerryError } from '../../../errors/skerry-error.ts';
import type { ImageId, ProcessId } from '../../../ids.ts';
import { delay } from '../../../platform/wait.ts';
import { sandboxEnded } from '../../../sandboxes/sandbox-errors.ts';
import type { Container, OutputReader, Process, Sandbox } from '../../../sandboxes/sandboxes.ts';
import type { ExecSpec } from '../../../sandboxes/spec.ts';
import type { ProcessExit } from '../../../sandboxes/state.ts';
import {
  SandboxStdioFileDescriptor,
  type TaskCommandRouter,
  type TaskExecStartRequest,
  TaskExecStderrConfig,
  TaskExecStdioFileDescriptor,
  TaskExecStdoutConfig,
  TaskSnapshotDirectoryResponseSchema,
  TaskSnapshotFilesystemResponseSchema,
  TaskSnapshotMemoryResponseSchema,
} from '../gen/modal/task_command_router_pb.ts';
import {
  argv,
  byteOffset,
  execId,
  execWorkdir,
  guestPath,
  integer,
  invalid,
  MAX_LIFETIME_S,
  networkPolicy,
  pty,
  ptyEnvironment,
  secretHeaders,
  secretSources,
  timeToLive,
  unsupported,
} from '../rpc/fields.ts';
import type { Idempotency, OnceRequest } from '../rpc/idempotency.ts';
import { SNAPSHOT_DEADLINE_MS, toSeconds, waitMs } from '../rpc/wire-time.ts';
import { type RouterDeps, routerTargets } from './router-sandbox.ts';
import { entrypointOf, type InputWrite, writeInput } from './stdin.ts';
import { StdinStreams } from './stdin-streams.ts';

export interface CommandRouterDeps extends RouterDeps {
  readonly idempotency: Idempotency;
  readonly now: () => number;
}

/**
 * The clients' own clock of an exec with a timeout starts before the call, and where it ends reading of output is over as well. So the process is killed
 * this much earlier, at most: who reads one stream to its end has time for the other.
 */
const timeoutLeadMs = (timeoutMs: number): number =>
  Math.min(1000, Math.max(timeoutMs * 0.05, Math.min(250, timeoutMs * 0.1)));
/**
 * After a timeout the Python and Go clients' own clock has the word: programs know a timeout by what the client makes of that (-1, ExecTimeoutError).
 * Whoever has no clock while it waits, as the JavaScript client, gets the exit this much later.
 */
const TIMEOUT_SILENCE_MS = 250;
/**
 * The Python client always has a clock of its own, which starts when it is told that the program has started: on a busy machine many seconds late. This is
 * only for what it cannot do, not to look at that clock.
 */
const PYTHON_TIMEOUT_SILENCE_MS = 60_000;

const MAX_READY_WAIT_S = 3600;

export function commandRouterHandlers(
  deps: CommandRouterDeps,
): Partial<ServiceImpl<typeof TaskCommandRouter>> {
  const stdinStreams = new StdinStreams();
  const targets = routerTargets(deps);
  const sandboxOf = targets.sandbox;

  function processOf(
    request: { readonly taskId: string; readonly execId: string },
    context: HandlerContext,
  ): Process {
    return targets.process(sandboxOf(request.taskId, context), request.execId);
  }

  function containerOf(
    request: { readonly taskId: string; readonly containerId: string },
    context: HandlerContext,
  ): Container {
    return targets.container(sandboxOf(request.taskId, context), request.containerId);
  }

  /** The work goes on when the caller stops waiting: a repeat with the same key joins it or finds its image. */
  function snapshotOnce<Output extends DescMessage>(
    container: Container,
    call: Pick<OnceRequest<Output>, 'method' | 'key' | 'output'>,
    take: (signal: AbortSignal) => Promise<MessageShape<Output>>,
  ): Promise<MessageShape<Output>> {
    return deps.idempotency.once({
      ...call,
      // The containers of a sandbox are known by their own ids.
      principal: container.taskId,
      run: () => take(AbortSignal.timeout(SNAPSHOT_DEADLINE_MS)),
    });
  }

  /** The calls about a process name no container, so an id must mean one process of the whole sandbox. */
  function refuseIdElsewhere(sandbox: Sandbox, container: Container, id: ProcessId): void {
    const elsewhere = container.taskId !== sandbox.taskId && has(sandbox, id);
    const inSidecar = deps.sidecars.process(sandbox, id);
    if (elsewhere || (inSidecar && inSidecar.taskId !== container.taskId)) {
      throw invalid(`exec_id ${id} is a process of another container of this sandbox.`);
    }
  }

  return {
    async taskExecStart(request, context) {
      const sandbox = sandboxOf(request.taskId, context);
      const id = execId(request.execId);
      const spec = toExecSpec(request);
      if (sandbox.result) {
        throw sandboxEnded(sandbox);
      }
      const container = targets.container(sandbox, request.containerId);
      refuseIdElsewhere(sandbox, container, id);
      sandbox.touch();
      await container.exec(id, spec, context.signal);
      return {};
    },

    async *taskExecStdioRead(request, context) {
      const process = processOf(request, context);
      const output = pick(request.fileDescriptor === TaskExecStdioFileDescriptor.STDERR, process);
      for await (const data of output.read(byteOffset(request.offset), context.signal)) yield { data };
    },

    async taskExecWait(request, context) {
      const process = processOf(request, context);
      const exit = process.exit ?? (await process.wait(context.signal));
      const silenceMs = untilToldMs(process, context, deps.now());
      if (silenceMs > 0) await delay(silenceMs, context.signal);
      if (exit.timedOut && isGoClient(context)) {
        throw new SkerryError('deadline-exceeded', `Exec ${request.execId} exceeded its timeout.`);
      }
      return { exitStatus: toExitStatus(exit) };
    },

    taskExecPoll(request, context) {
      const process = processOf(request, context);
      if (!process.exit || untilToldMs(process, context, deps.now()) > 0) return {};
      return { exitStatus: toExitStatus(process.exit) };
    },

    async taskExecStdinWrite(request, context) {
      const sandbox = sandboxOf(request.taskId, context);
      const process = targets.process(sandbox, request.execId);
      await writeInput(sandbox, process, toWrite(request), context.signal);
      return {};
    },

    async taskExecStdinWriteStream(requests, context) {
      const find = (taskId: string, id: string) => {
        const sandbox = sandboxOf(taskId, context);
        return { sandbox, process: targets.process(sandbox, id) };
      };
      await stdinStreams.receive(requests, find, context.signal);
      return {};
    },

    async taskExecStdinStatus(request, context) {
      const process = processOf(request, context);
      await stdinStreams.evict(process);
      const { accepted, closed } = await process.stdinStatus(context.signal);
      return { numBytesWritten: BigInt(accepted), closed };
    },

    async *sandboxStdioReadV2(request, context) {
      const sandbox = sandboxOf(request.taskId, context);
      const output = pick(request.fileDescriptor === SandboxStdioFileDescriptor.STDERR, sandbox);
      let offset = byteOffset(request.offset);
      for await (const data of output.read(offset, context.signal)) {
        // Python compares this with its own count in every message.
        yield { data, startingOffset: BigInt(offset) };
        offset += data.length;
      }
    },

    async sandboxStdinWriteV2(request, context) {
      const sandbox = sandboxOf(request.taskId, context);
      const process = await entrypointOf(sandbox, context.signal);
      await writeInput(sandbox, process, toWrite(request), context.signal);
      return {};
    },

    async sandboxWaitUntilReady({ taskId, timeout }, context) {
      const sandbox = sandboxOf(taskId, context);
      const readyAtMs = await sandbox.waitUntilReady(waitMs(timeout, MAX_READY_WAIT_S), context.signal);
      return { readyAt: toSeconds(readyAtMs) };
    },

    async taskSetNetworkAccess({ taskId, networkAccess }, context) {
      const sandbox = sandboxOf(taskId, context);
      if (!networkAccess) throw invalid('network_access is missing.');
      await sandbox.setNetworkPolicy(networkPolicy(networkAccess));
      return {};
    },

    async taskSetOutboundPolicy({ taskId, experimentalOutboundPolicy: policy }, context) {
      const sandbox = sandboxOf(taskId, context);
      if (!policy) throw invalid('experimental_outbound_policy is missing.');
      await sandbox.setSecretHeaders(secretHeaders(policy));
      return {};
    },

    async taskReloadVolumes(request, context) {
      await containerOf(request, context).reloadVolumes(context.signal);
      return {};
    },

    async taskSnapshotFilesystem(request, context) {
      const container = containerOf(request, context);
      if (request.customerSuppliedEncryptionKey) throw unsupported('customer_supplied_encryption_key.');
      const ttlMs = timeToLive(request.ttlSeconds);
      const output = TaskSnapshotFilesystemResponseSchema;
      const call = { method: 'TaskSnapshotFilesystem', key: request.snapshotId, output };
      return snapshotOnce(container, call, async (signal) => {
        const image = await container.snapshotFilesystem({ ttlMs }, signal);
        return create(output, { imageId: image.id });
      });
    },

    async taskSnapshotDirectory(request, context) {
      const container = containerOf(request, context);
      const encryptionKey = encryptionKeyOf(request);
      const path = guestPath(request.path);
      const ttlMs = timeToLive(request.ttlSeconds);
      const output = TaskSnapshotDirectoryResponseSchema;
      const call = { method: 'TaskSnapshotDirectory', key: request.snapshotId, output };
      return snapshotOnce(container, call, async (signal) => {
        const image = await container.snapshotDirectory(path, { ttlMs, encryptionKey }, signal);
        return create(output, { imageId: image.id });
      });
    },

    async taskSnapshotMemory({ taskId, idempotencyKey: key }, context) {
      const sandbox = sandboxOf(taskId, context);
      const output = TaskSnapshotMemoryResponseSchema;
      return snapshotOnce(sandbox, { method: 'TaskSnapshotMemory', key, output }, async (signal) =>
        create(output, { snapshotId: await sandbox.snapshotMemory(signal) }),
      );
    },

    async taskMountDirectory(request, context) {
      const container = containerOf(request, context);
      const encryptionKey = encryptionKeyOf(request);
      const imageId = request.imageId === '' ? undefined : (request.imageId as ImageId); // a lookup finds nothing under text that is no id
      if (encryptionKey && imageId === undefined)
        throw invalid('customer_supplied_encryption_key is given, but image_id is missing.');
      await container.mountImage(guestPath(request.path), { imageId, encryptionKey }, context.signal);
      return {};
    },

    async taskUnmountDirectory(request, context) {
      await containerOf(request, context).unmountImage(guestPath(request.path), context.signal);
      return {};
    },
  };
}

/** Bytes of a caller's key. */
const [MIN_KEY_BYTES, MAX_KEY_BYTES] = [16, 512];

function encryptionKeyOf({
  customerSuppliedEncryptionKey: key,
}: {
  readonly customerSuppliedEncryptionKey?: Uint8Array | undefined;
}): Uint8Array | undefined {
  if (key && (key.length < MIN_KEY_BYTES || key.length > MAX_KEY_BYTES)) {
    throw invalid(
      `customer_supplied_encryption_key must have ${MIN_KEY_BYTES} to ${MAX_KEY_BYTES} bytes, not ${key.length}.`,
    );
  }
  return key;
}

/**
 * The Go client looks at its clock only when a call begins or fails, so one that waits already has to be told of a timeout by a status. Calls to the router
 * name no client; the library that makes them does (gRPC over HTTP/2, "User-Agents").
 */
const isGoClient = (context: HandlerContext): boolean => isClient(context, 'grpc-go/');
const isPythonClient = (context: HandlerContext): boolean => isClient(context, 'grpc-python-grpclib/');

const isClient = (context: HandlerContext, library: string): boolean =>
  (context.requestHeader.get('user-agent') ?? '').startsWith(library);

/** How long the exit of a process that ended by its timeout is kept back. */
function untilToldMs(
  { exit, createdAtMs, timeoutMs }: Process,
  context: HandlerContext,
  nowMs: number,
): number {
  if (!exit?.timedOut || timeoutMs === undefined) return 0;
  const silenceMs = isPythonClient(context) ? PYTHON_TIMEOUT_SILENCE_MS : TIMEOUT_SILENCE_MS;
  return Math.max(0, createdAtMs + timeoutMs + silenceMs - nowMs);
}

function toExecSpec(request: TaskExecStartRequest): ExecSpec {
  const args = argv(request.commandArgs, 'command_args');
  if (!args[0]) throw invalid('command_args must name a program.');
  const timeoutMs = request.timeoutSecs
    ? integer(request.timeoutSecs, 'timeout_secs', 1, MAX_LIFETIME_S) * 1000
    : undefined;
  return {
    argv: args,
    secretSources: [
      ...ptyEnvironment(request.ptyInfo),
      ...secretSources(request.secretIds, request.secretSources, [request.env]),
    ],
    workdir: execWorkdir(request.workdir),
    timeoutMs,
    timeoutLeadMs: timeoutLeadMs(timeoutMs ?? 0),
    pty: pty(request.ptyInfo),
    stdout: request.stdoutConfig === TaskExecStdoutConfig.DEVNULL ? 'null' : 'pipe',
    stderr: stderrTarget(request.stderrConfig),
    failureIsExit: true,
  };
}

function stderrTarget(config: TaskExecStderrConfig): ExecSpec['stderr'] {
  switch (config) {
    case TaskExecStderrConfig.DEVNULL:
      return 'null';
    case TaskExecStderrConfig.PIPE:
      return 'pipe';
    case TaskExecStderrConfig.STDOUT:
      return 'stdout';
    default:
      throw invalid(`stderr_config ${config} is unknown.`);
  }
}

function pick(
  stderr: boolean,
  from: { readonly stdout: OutputReader; readonly stderr: OutputReader },
): OutputReader {
  return stderr ? from.stderr : from.stdout;
}

function toWrite(request: {
  readonly offset: bigint;
  readonly data: Uint8Array;
  readonly eof: boolean;
}): InputWrite {
  return { offset: byteOffset(request.offset), data: request.data, eof: request.eof };
}

function toExitStatus(exit: ProcessExit) {
  return exit.kind === 'code'
    ? ({ case: 'code', value: exit.code } as const)
    : ({ case: 'signal', value: exit.signal } as const);
}

function has(sandbox: Sandbox, id: ProcessId): boolean {
  try {
    return sandbox.process(id).id === id;
  } catch (error) {
    if (error instanceof SkerryError && error.code === 'not-found') return false;
    throw error;
  }
}
