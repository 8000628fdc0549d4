/** Log RPCs: the history and live output of sandboxes' entrypoints, and the history of image builds. Facts: docs/protocol/control-plane.md, section 10. */
import type { Timestamp } from '@bufbuild/protobuf/wkt';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import type { ServiceImpl } from '@connectrpc/connect';
import type { Apps } from '../../../apps/apps.ts';
import { SkerryError } from '../../../errors/skerry-error.ts';
import type { AppId, TaskId } from '../../../ids.ts';
import type { Images } from '../../../images/image.ts';
import type { Sandbox, Sandboxes } from '../../../sandboxes/sandboxes.ts';
import { FileDescriptor } from '../gen/modal/common_pb.ts';
import type { ModalClient } from '../gen/modal/service_pb.ts';
import { integer, parseSandboxId, text } from '../rpc/fields.ts';
import { waitMs } from '../rpc/wire-time.ts';
import { imageOfTask } from './build-task.ts';
import { followLogs, tasksOf } from './log-follow.ts';
import { buildHistory, type LogEntry, type LogQuery, logHistory, MAX_ENTRIES, toNs } from './log-history.ts';

export interface LogHandlerDeps {
  readonly apps: Pick<Apps, 'get'>;
  readonly images: Pick<Images, 'buildLog'>;
  readonly sandboxes: Pick<Sandboxes, 'get' | 'getByTask' | 'list'>;
  readonly now: () => number;
}

/** The longest that one log stream lasts; clients open the next. */
export const MAX_STREAM_S = 60;
/** A follower with time-out 0 wants what is there and no more: long enough to send it. */
const MIN_STREAM_S = 0.25;
/** The longest range the clients ask for. */
const MAX_RANGE_NS = toNs(36 * 86_400_000);
/** The largest 64-bit time: year 2262. */
const END_OF_TIME_NS = 2n ** 63n - 1n;
/** Sandboxes of an app that are looked through, newest first. */
const MAX_SANDBOXES = 500;
/** A follower that begins is also shown sandboxes that ended this recently: short ones end before it can look. */
const RECENTLY_MS = 60_000;

/** Which sandboxes a log request is about. */
interface Scope {
  readonly appId: string;
  readonly taskId: string;
  readonly sandboxId: string;
}

export function logHandlers(deps: LogHandlerDeps): Partial<ServiceImpl<typeof ModalClient>> {
  const { apps, images, sandboxes, now } = deps;

  /** The one sandbox that is named. @throws SkerryError `not-found`, also when it is of another app */
  function named({ appId, taskId, sandboxId }: Scope): Sandbox | undefined {
    if (!taskId && !sandboxId) return undefined;
    // Any string may be looked up.
    const sandbox = taskId ? sandboxes.getByTask(taskId as TaskId) : sandboxes.get(parseSandboxId(sandboxId));
    if (appId && sandbox.spec.appId !== appId) {
      throw new SkerryError('not-found', `${sandbox.id} is not in app ${appId.slice(0, 64)}.`);
    }
    return sandbox;
  }

  function inScope(scope: Scope): readonly Sandbox[] {
    const one = named(scope);
    if (one) return [one];
    const { id } = apps.get(scope.appId as AppId); // likewise
    return sandboxes.list({ appId: id, includeEnded: true, limit: MAX_SANDBOXES });
  }

  async function history(scope: Scope, query: LogQuery, limit: number, signal: AbortSignal) {
    const image = imageOfTask(scope.taskId);
    return image === undefined
      ? await logHistory(inScope(scope), query, limit, signal)
      : buildHistory(images.buildLog(image), scope.taskId, query, limit);
  }

  return {
    async appFetchLogs(request, { signal }) {
      // Skerry has no functions: what a filter by one could find is nothing.
      if (request.functionId || request.functionCallId || request.parametrizedFunctionId)
        return { batches: [] };
      const limit = Math.min(request.limit || MAX_ENTRIES, MAX_ENTRIES);
      const query = toQuery(request.since, request.until, request.source, request.searchText);
      return { batches: toBatches(await history(request, query, limit, signal)) };
    },

    async appCountLogs(request, { signal }) {
      const bucketSecs = integer(request.bucketSecs, 'bucket_secs', 1, 86_400);
      if (request.functionId || request.functionCallId || request.parametrizedFunctionId)
        return { appId: request.appId };
      const query = toQuery(request.since, request.until, request.source, request.searchText);
      const entries = await history(request, query, MAX_ENTRIES, signal);
      return { appId: request.appId, buckets: toBuckets(entries, bucketSecs) };
    },

    async *appGetLogs(request, { signal: left }) {
      if (request.functionId || request.functionCallId || request.parametrizedFunctionId) return;
      const one = named(request);
      const app = one ? undefined : apps.get(request.appId as AppId); // any string may be looked up
      const begun = tasksOf(request.lastEntryId);
      const recent = now() - RECENTLY_MS;
      const find = () => {
        if (one) return [one];
        if (!app) return [];
        const all = sandboxes.list({ appId: app.id, includeEnded: true, limit: MAX_SANDBOXES });
        return all.filter((sandbox) => begun.has(sandbox.taskId) || (sandbox.endedAtMs ?? now()) >= recent);
      };
      const complete = () =>
        one ? one.result !== undefined : app !== undefined && apps.get(app.id).state === 'stopped';
      const deadline = AbortSignal.timeout(waitMs(Math.max(request.timeout, MIN_STREAM_S), MAX_STREAM_S));
      const signal = AbortSignal.any([left, deadline]);
      try {
        for await (const entry of followLogs({
          find,
          after: request.lastEntryId,
          source: request.fileDescriptor,
          complete,
          now,
          signal,
        })) {
          if (!entry.text.includes(request.searchText)) continue;
          yield {
            taskId: entry.sandbox.taskId,
            sandboxId: entry.sandbox.id,
            entryId: entry.entryId,
            items: [logItem(toNs(entry.timeMs), entry.source, entry.text)],
          };
        }
      } catch (error) {
        // The client opens the stream again from its last entry id.
        if (deadline.aborted && !left.aborted) return;
        throw error;
      }
      // Only this keeps clients from opening the stream again, also where they follow a single sandbox.
      yield { appDone: true };
    },
  };
}

function toQuery(
  since: Timestamp | undefined,
  until: Timestamp | undefined,
  source: FileDescriptor,
  searchText: string,
): LogQuery {
  const untilNs = until ? timestampNs(until) : END_OF_TIME_NS;
  const sinceNs = since ? wholeMicrosecond(timestampNs(since)) : until ? untilNs - MAX_RANGE_NS : 0n;
  return { sinceNs, untilNs, source, searchText: text(searchText, 'search_text', 4096) };
}

/** The Python client keeps times as doubles of seconds, so what it asks from may be up to 120 ns later than the time that it was told. */
const wholeMicrosecond = (ns: bigint): bigint => ns - (ns % 1000n);

const timestampNs = ({ seconds, nanos }: Timestamp): bigint => seconds * 1_000_000_000n + BigInt(nanos);

/** One message of a batch of logs. */
export const logItem = (timeNs: bigint, fileDescriptor: FileDescriptor, data: string) => ({
  data,
  timestamp: Number(timeNs / 1000n) / 1e6,
  timestampNs: timeNs,
  fileDescriptor,
});

/** Neighbours of the same task share a batch; the order stays. */
function toBatches(entries: readonly LogEntry[]) {
  const batches: { taskId: string; sandboxId: string; items: ReturnType<typeof logItem>[] }[] = [];
  for (const { taskId, sandboxId, timeNs, source, text: data } of entries) {
    let batch = batches.at(-1);
    if (batch?.taskId !== taskId) {
      batch = { taskId, sandboxId, items: [] };
      batches.push(batch);
    }
    batch.items.push(logItem(timeNs, source, data));
  }
  return batches;
}

/** Only buckets that hold something, oldest first; they begin at whole multiples of their size. */
function toBuckets(entries: readonly LogEntry[], bucketSecs: number) {
  const buckets = new Map<number, { stdoutLogs: bigint; stderrLogs: bigint; systemLogs: bigint }>();
  for (const { timeNs, source } of entries) {
    const second = Number(timeNs / 1_000_000_000n);
    const start = second - (second % bucketSecs);
    const bucket = buckets.get(start) ?? { stdoutLogs: 0n, stderrLogs: 0n, systemLogs: 0n };
    buckets.set(start, bucket);
    if (source === FileDescriptor.STDOUT) bucket.stdoutLogs++;
    else if (source === FileDescriptor.STDERR) bucket.stderrLogs++;
    else bucket.systemLogs++;
  }
  return [...buckets].map(([start, counts]) => ({ bucketStartAt: timestampFromMs(start * 1000), ...counts }));
}
