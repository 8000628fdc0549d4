/** An image of 500 MB in a registry of the bench's own, for those that pull. */
import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startDockerRegistry } from '../e2e/images/docker-registry.ts';
import { startRegistry } from '../server/src/images/bases/testing-registry.ts';
import { emptyImageConfig } from '../server/src/images/image.ts';
import { thisPlatform } from '../server/src/images/oci/platform.ts';
import { writeLayout } from '../server/src/images/oci/write-archive.ts';
import { run } from '../server/src/platform/command.ts';

const LAYERS = 4;
const FILES = 1250;
const FILE_BYTES = 100_000;
const TIMEOUT_MS = 600_000;

/** In words, for a page. */
export const LARGE_IMAGE = `${(LAYERS * FILES * FILE_BYTES) / 1e6} MB in ${LAYERS} layers of ${FILES} files, a half of each random`;

export interface ImageServer extends AsyncDisposable {
  readonly host: string;
  /** What serves it. */
  readonly name: string;
}

/** @param scratch a directory of the caller */
export async function startImageServer(scratch: string): Promise<ImageServer> {
  const real = await startDockerRegistry(join(scratch, 'registry'));
  if (real) return Object.assign(real, { name: "Debian's docker-registry" });
  return Object.assign(await startRegistry([], {}), { name: 'the registry of the tests, from memory' });
}

/** @returns what to pull */
export async function sendLargeImage(host: string, scratch: string): Promise<string> {
  const layers = Array.from({ length: LAYERS }, (_, layer) => {
    const root = join(scratch, `large-${layer}`);
    const directory = join(root, `layer-${layer}`);
    mkdirSync(directory, { recursive: true });
    for (let file = 0; file < FILES; file++) {
      const content = Buffer.alloc(FILE_BYTES, `${file} and again `);
      randomBytes(FILE_BYTES / 2).copy(content);
      writeFileSync(join(directory, String(file)), content);
    }
    return root;
  });
  const image = {
    ...{ names: ['1'], config: emptyImageConfig, createdAtMs: 0, architecture: thisPlatform },
    ...{ layers, history: undefined },
  };
  const layout = join(scratch, 'large');
  await writeLayout(layout, [image], AbortSignal.timeout(TIMEOUT_MS));
  const reference = `${host}/team/app:large`;
  const to = `docker://${reference}`;
  await run(['skopeo', 'copy', '--quiet', '--dest-tls-verify=false', `oci:${layout}:1`, to], {
    timeoutMs: TIMEOUT_MS,
  });
  return reference;
}
