/** The server in one file, where `build.mjs` has made it and its sources are what they were. Plain JavaScript that any Node runs, as the set-up asks too (docs/decisions/0001). */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readFileSync, readSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const clone = new URL('../', import.meta.url);

/** Its first line is a comment that says what it was made of: `{ sources }`. In the file itself, so that whoever replaces it replaces both. */
export const bundleFile = fileURLToPath(new URL('server/dist/server.cjs', clone));

const BEGIN = '// ';
/** The line has some 80 KB. */
const READ_BYTES = 1 << 17;
/** How long the kernel may give several changes of a file one time, with room to spare. */
const ONE_TIME_MS = 2_000;

const hashOf = (content) => createHash('sha256').update(content).digest('base64');

/**
 * What is to be known of a source: what it holds, and which file that was. Who reads the latter again where it was neither replaced nor written to, whose time only the kernel sets, need not read the
 * file; every checkout and every copy of a clone has others.
 * @param path relative to the clone
 */
export function takeSource(path) {
  const stamp = stampOf(path);
  const content = readFileSync(new URL(path, clone));
  return { content, source: { hash: hashOf(content), ...(stamp.isOld && { file: stamp.file }) } };
}

function stampOf(path) {
  const { ino, size, ctimeMs } = statSync(new URL(path, clone));
  return { file: `${ino} ${size} ${ctimeMs}`, isOld: Date.now() - ctimeMs > ONE_TIME_MS };
}

const isAsItWas = ([path, { hash, file }]) =>
  (file !== undefined && stampOf(path).file === file) || takeSource(path).source.hash === hash;

/** The first line, without its end. @param sources by their paths, what was known of each when it was taken */
export const firstLine = (sources) => BEGIN + JSON.stringify({ sources });

/** What the file is to hold where no source ever changes, as in a container image: none is looked at there. */
export function withoutSources() {
  const content = readFileSync(bundleFile);
  return Buffer.concat([Buffer.from(firstLine({})), content.subarray(content.indexOf('\n'))]);
}

/** Whether it is there and made of the sources as they are. @param file another than this clone's, for tests */
export function isBundled(file = bundleFile) {
  try {
    const { sources } = JSON.parse(lineOf(file).slice(BEGIN.length));
    return Object.entries(sources).every(isAsItWas);
  } catch {
    return false; // it was never made, or a source is gone
  }
}

function lineOf(file) {
  const descriptor = openSync(file, 'r');
  try {
    let text = '';
    const piece = Buffer.alloc(READ_BYTES);
    for (;;) {
      const length = readSync(descriptor, piece);
      text += piece.toString('latin1', 0, length);
      const end = text.indexOf('\n');
      if (end >= 0 || length === 0) return text.slice(0, end);
    }
  } finally {
    closeSync(descriptor);
  }
}
