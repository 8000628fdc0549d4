/** What sandboxes take of the machine, as long as somebody looks. */
import { useRef } from 'preact/hooks';
import type { UsageList } from '../../sdk/src/index.ts';
import { bytes } from './format.ts';
import { useAsked } from './hooks.ts';
import { get } from './session.ts';

const REFRESH_MS = 3_000;

interface Taken {
  /** As text; a dash where it is not known, or not yet. */
  readonly cpu: string;
  readonly memory: string;
  readonly processes: string;
}

const UNKNOWN: Taken = { cpu: '–', memory: '–', processes: '–' };

/** By a sandbox's id. Its part of a processor is known from the second answer on. */
export function useUsage(): (id: string) => Taken {
  const before = useRef<{ readonly atMs: number; readonly cpuMs: ReadonlyMap<string, number> } | undefined>(
    undefined,
  );
  const { value } = useAsked(
    async (signal) => {
      const { sandboxes } = await get<UsageList>('/v1/usage', signal);
      const atMs = performance.now();
      const last = before.current;
      before.current = { atMs, cpuMs: new Map(sandboxes.map(({ id, cpuMs }) => [id, cpuMs])) };
      return new Map(
        sandboxes.map(({ id, cpuMs, memoryBytes, memoryLimitMiB, processes }): [string, Taken] => {
          const earlier = last?.cpuMs.get(id);
          const part = last && earlier !== undefined ? (cpuMs - earlier) / (atMs - last.atMs) : undefined;
          const limit = memoryLimitMiB === null ? '' : ` of ${bytes(memoryLimitMiB * 2 ** 20)}`;
          return [
            id,
            {
              cpu: part === undefined ? '–' : `${Math.max(0, Math.round(part * 100))} %`,
              memory: `${bytes(memoryBytes)}${limit}`,
              processes: String(processes),
            },
          ];
        }),
      );
    },
    '',
    REFRESH_MS,
  );
  return (id) => value?.get(id) ?? UNKNOWN;
}
