/** The devices that the machine's CDI files describe. They are root's files, and yet read as if they came from outside: they say what runs and what is shown. */
import { constants } from 'node:fs';
import { type FileHandle, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { type CdiEdits, cdiFileSchema } from './cdi-schema.ts';

const MAX_FILES = 256;
const MAX_FILE_BYTES = 4 * 2 ** 20;
/** Others than the owner may not write to what decides what runs as root. */
const OTHERS_WRITE = 0o022;

export interface CdiDevice {
  /** Fully qualified: `nvidia.com/gpu=0`. */
  readonly name: string;
  /** `nvidia.com/gpu` */
  readonly kind: string;
  /** Its own over those of its file. */
  readonly annotations: Readonly<Record<string, string>>;
  /** Its file's, which belong to every device of it. */
  readonly common: CdiEdits;
  readonly own: CdiEdits;
}

/** A file or device that is not used. */
export interface CdiProblem {
  /** A file's path or a device's name. */
  readonly of: string;
  readonly reason: string;
}

export interface CdiDevices {
  readonly devices: ReadonlyMap<string, CdiDevice>;
  readonly problems: readonly CdiProblem[];
}

/** Reads `*.json` and `*.yaml`. Of two devices of one name that of the later directory counts; two in one directory are none. */
export async function readCdiDevices(directories: readonly string[]): Promise<CdiDevices> {
  const devices = new Map<string, CdiDevice>();
  const problems: CdiProblem[] = [];
  for (const directory of directories) {
    const seen = new Set<string>();
    for (const path of await filesIn(directory, problems)) {
      try {
        for (const device of await readDevices(path)) {
          if (seen.has(device.name)) {
            problems.push({ of: device.name, reason: `it is in ${directory} twice` });
            devices.delete(device.name);
            continue;
          }
          seen.add(device.name);
          devices.set(device.name, device);
        }
      } catch (error) {
        problems.push({ of: path, reason: reasonOf(error) });
      }
    }
  }
  return { devices, problems };
}

async function filesIn(directory: string, problems: CdiProblem[]): Promise<string[]> {
  const names = await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') problems.push({ of: directory, reason: error.message });
    return [];
  });
  const specs = names.filter((name) => /\.(json|ya?ml)$/.test(name)).sort();
  if (specs.length > MAX_FILES)
    problems.push({ of: directory, reason: `of ${specs.length} files only ${MAX_FILES} are read` });
  return specs.slice(0, MAX_FILES).map((name) => join(directory, name));
}

async function readDevices(path: string): Promise<CdiDevice[]> {
  const text = await readTrusted(path);
  // JSON is YAML too, but its own parser tells better where a mistake is; and few machines need the other one, which is large.
  const content: unknown = path.endsWith('.json')
    ? JSON.parse(text)
    : (await import('yaml')).parse(text, { schema: 'core', maxAliasCount: 0, logLevel: 'error' });
  const { kind, annotations, containerEdits: common, devices } = cdiFileSchema.parse(content);
  return devices.map((device) => ({
    name: `${kind}=${device.name}`,
    kind,
    annotations: { ...annotations, ...device.annotations },
    common,
    own: device.containerEdits,
  }));
}

/** @throws Error for what is no plain file of root's (or of whoever the server runs as) that nobody else may write to */
async function readTrusted(path: string): Promise<string> {
  // Not waiting for somebody to write into what may be a FIFO.
  await using file: FileHandle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const { uid, mode, size } = await requireFile(file);
  if ((uid !== 0 && uid !== process.getuid?.()) || (mode & OTHERS_WRITE) !== 0)
    throw new Error('it must belong to root, and nobody else may write to it (chmod go-w)');
  if (size > MAX_FILE_BYTES) throw new Error(`it is larger than ${MAX_FILE_BYTES >> 20} MiB`);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(MAX_FILE_BYTES + 1), 0, MAX_FILE_BYTES + 1, 0);
  if (bytesRead > MAX_FILE_BYTES) throw new Error(`it is larger than ${MAX_FILE_BYTES >> 20} MiB`);
  return buffer.toString('utf8', 0, bytesRead);
}

async function requireFile(file: FileHandle) {
  const found = await file.stat();
  if (!found.isFile()) throw new Error('it is not a file');
  return found;
}

function reasonOf(error: unknown): string {
  if (error instanceof z.ZodError) {
    const [first] = error.issues;
    return `${first?.path.join('.') || 'the file'}: ${first?.message}`;
  }
  return error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
}
