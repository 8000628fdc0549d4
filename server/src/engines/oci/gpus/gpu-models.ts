/** Which model the machine's GPUs are: a CDI file does not say, the drivers do. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from '../../../platform/command.ts';
import { findProgram } from '../../../platform/find-program.ts';

/** Written by NVIDIA's driver: a directory for each GPU, by its place on the bus. */
const NVIDIA_PROC = '/proc/driver/nvidia/gpus';
const SMI_TIMEOUT_MS = 20_000;
const MAX_INFORMATION = 16_384;

export interface GpuModel {
  /** "NVIDIA H100 80GB HBM3" */
  readonly name: string;
  /** "GPU-fef8089b-…", as CDI names it too; empty where it is not told. */
  readonly uuid: string;
  /** N of /dev/nvidiaN. */
  readonly minor: number;
}

/** NVIDIA's GPUs, as the driver tells; by `nvidia-smi` where /proc does not (in a container that hides it, say). Empty where there are none. */
export async function nvidiaModels(procDir: string = NVIDIA_PROC): Promise<readonly GpuModel[]> {
  const places = await readdir(procDir).catch(() => []);
  const found = await Promise.all(
    places.map(async (place) => {
      const text = await readFile(join(procDir, place, 'information'), 'utf8').catch(() => '');
      return modelOf(text.slice(0, MAX_INFORMATION));
    }),
  );
  const models = found.flatMap((model) => model ?? []);
  return models.length > 0 ? models : modelsOfSmi();
}

/** One file `information`: lines of `Model: …`, `GPU UUID: …`, `Device Minor: …`. */
export function modelOf(text: string): GpuModel | undefined {
  const field = (name: string) => new RegExp(`^${name}:\\s*(.+?)\\s*$`, 'm').exec(text)?.[1];
  const name = field('Model');
  const minor = Number(field('Device Minor') ?? Number.NaN);
  if (!name || !Number.isInteger(minor)) return undefined;
  const uuid = field('GPU UUID') ?? '';
  return { name, uuid: uuid.includes('?') ? '' : uuid, minor }; // marks where the driver has not asked the GPU yet
}

async function modelsOfSmi(): Promise<readonly GpuModel[]> {
  const program = findProgram('nvidia-smi');
  if (!program) return [];
  const query = [program, '--query-gpu=index,uuid,name', '--format=csv,noheader'] as const;
  const output = await run([...query], { timeoutMs: SMI_TIMEOUT_MS }).then(
    ({ stdout }) => stdout,
    () => '',
  );
  return modelsOfCsv(output);
}

/** Lines of `0, GPU-…, NVIDIA H100 80GB HBM3`. An index is the minor number unless GPUs are missing in between, which only /proc can tell. */
export function modelsOfCsv(text: string): readonly GpuModel[] {
  return text.split('\n').flatMap((line) => {
    const [, index, uuid, name] = /^(\d+), *(GPU-[0-9a-f-]+), *(.+)$/i.exec(line.trim()) ?? [];
    return index && uuid && name ? [{ name, uuid, minor: Number(index) }] : [];
  });
}
