/**
 * Downloads one file of a PyPI package and unpacks a folder of it: `fetch-wheel.ts PACKAGE FILE SHA256 FOLDER/ TARGET`. Run by the
 * set-up on machines that may have no pip and no Python.
 */
import { createHash, X509Certificate } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { pathToFileURL } from 'node:url';
import yauzl from 'yauzl';
import { findExtraCaFile } from '../server/src/config/extra-ca.ts';

const ATTEMPTS = 3;
/** Without a byte for so long, the connection is dead. */
const STALL_MS = 60_000;

/**
 * The index that pip would ask: its variable, or else its configuration files, the user's before the machine's.
 * @returns its URL without a slash at the end
 */
export async function packageIndex(env: Readonly<Record<string, string | undefined>>): Promise<string> {
  const home = env.HOME || homedir();
  const files = [
    env.PIP_CONFIG_FILE,
    join(env.XDG_CONFIG_HOME || join(home, '.config'), 'pip', 'pip.conf'),
    join(home, '.pip', 'pip.conf'),
    '/etc/pip.conf',
  ];
  let index = env.PIP_INDEX_URL;
  for (const file of files) {
    if (index) break;
    const text = file ? await readFile(file, 'utf8').catch(() => '') : '';
    index = /^\s*index[-_]url\s*[=:]\s*(\S+)\s*$/m.exec(text)?.[1];
  }
  return (index || 'https://pypi.org/simple').replace(/\/+$/, '');
}

/** A URL for `fetch`, which takes no credentials in it: they become a header. */
function request(url: URL, accept: string): Request {
  const { username, password } = url;
  const bare = new URL(url);
  bare.username = '';
  bare.password = '';
  const headers = new Headers({ accept });
  if (username) {
    const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
    headers.set('authorization', `Basic ${Buffer.from(pair).toString('base64')}`);
  }
  return new Request(bare, { headers });
}

async function answer(url: URL, accept: string, signal: AbortSignal): Promise<Response> {
  const response = await fetch(request(url, accept), { signal });
  if (response.ok) return response;
  throw new Error(`${url.host} answers ${response.status} for ${url.pathname}`);
}

/** Where an index has a file of a package. Indexes answer in JSON or HTML (the simple repository API, both forms). */
export async function locateFile(index: string, name: string, file: string): Promise<URL> {
  const page = new URL(`${index}/${name}/`);
  const accept = 'application/vnd.pypi.simple.v1+json, text/html;q=0.5';
  const response = await answer(page, accept, AbortSignal.timeout(STALL_MS));
  const base = new URL(response.url || page);
  base.username = page.username;
  base.password = page.password;
  const text = await response.text();
  const links = response.headers.get('content-type')?.includes('json')
    ? (JSON.parse(text) as { files: { url: string }[] }).files.map(({ url }) => url)
    : [...text.matchAll(/<a\s[^>]*?href\s*=\s*["']([^"']+)["']/gi)].map((match) =>
        (match[1] ?? '').replaceAll('&amp;', '&'),
      );
  const found = links
    .map((link) => new URL(link, base))
    .find(({ pathname }) => pathname.endsWith(`/${file}`));
  if (!found) throw new Error(`${page.host} has no ${file}`);
  // What another host serves is no business of the index's password.
  if (found.host === base.host && !found.username) {
    found.username = base.username;
    found.password = base.password;
  }
  found.hash = '';
  return found;
}

/** @throws when the content is not the one with this sum */
async function download(url: URL, path: string, sha256: string): Promise<void> {
  const stalled = new AbortController();
  const timer = setTimeout(() => stalled.abort(new Error(`${url.host} sends nothing any more`)), STALL_MS);
  try {
    const response = await answer(url, '*/*', stalled.signal);
    if (response.body === null) throw new Error(`${url.host} sends no content`);
    const total = Number(response.headers.get('content-length'));
    const hash = createHash('sha256');
    let bytes = 0;
    await pipeline(
      Readable.fromWeb(response.body),
      async function* (chunks: AsyncIterable<Buffer>) {
        for await (const chunk of chunks) {
          timer.refresh();
          hash.update(chunk);
          bytes += chunk.length;
          const share = total > 0 ? ` of ${Math.round(total / 1e6)}` : '';
          process.stdout.write(`downloading ${Math.round(bytes / 1e6)}${share} MB\n`);
          yield chunk;
        }
      },
      createWriteStream(path),
      { signal: stalled.signal },
    );
    const found = hash.digest('hex');
    if (found !== sha256)
      throw new Error(`${url.host} sent a file with the SHA-256 ${found} instead of ${sha256}`);
  } finally {
    clearTimeout(timer);
  }
}

/** Writes the files of a folder in the archive into a directory. Which are programs is kept of their modes, nothing else. */
async function unpack(archive: string, folder: string, directory: string): Promise<void> {
  const zip = await yauzl.openPromise(archive, { strictFileNames: true, autoClose: false });
  try {
    for await (const entry of zip.eachEntry()) {
      if (!entry.fileName.startsWith(folder) || entry.fileName.endsWith('/')) continue;
      const path = join(directory, entry.fileName.slice(folder.length));
      await mkdir(dirname(path), { recursive: true });
      const isProgram = ((entry.externalFileAttributes >>> 16) & 0o111) !== 0;
      const mode = isProgram ? 0o755 : 0o644;
      await pipeline(await zip.openReadStreamPromise(entry), createWriteStream(path, { mode }));
    }
  } finally {
    zip.close();
  }
}

/** The certificates of the machine, and those that its tools were told of (networks that inspect TLS). */
async function trustWhatTheMachineTrusts(): Promise<void> {
  const extra = findExtraCaFile(process.env);
  const text = extra ? await readFile(extra, 'utf8') : '';
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
  const readable = blocks.filter((block) => {
    try {
      return new X509Certificate(block);
    } catch {
      return false;
    }
  });
  setDefaultCACertificates([
    ...new Set([...getCACertificates('default'), ...getCACertificates('system'), ...readable]),
  ]);
}

/** Downloads and unpacks; a target that exists is complete, since it is moved there as a whole. */
export async function fetchWheel(
  name: string,
  file: string,
  sha256: string,
  folder: string,
  target: string,
): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  const work = await mkdtemp(`${target}.new-`);
  try {
    const archive = join(work, 'archive');
    for (let attempt = 1; ; attempt++) {
      try {
        await download(await locateFile(await packageIndex(process.env), name, file), archive, sha256);
        break;
      } catch (error) {
        if (attempt === ATTEMPTS) throw error;
      }
    }
    process.stdout.write(`unpacking ${file}\n`);
    await unpack(archive, folder, join(work, 'content'));
    await rm(target, { recursive: true, force: true });
    await rename(join(work, 'content'), target);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [name = '', file = '', sha256 = '', folder = '', target = ''] = process.argv.slice(2);
  try {
    await trustWhatTheMachineTrusts();
    await fetchWheel(name, file, sha256, folder, target);
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? `: ${error.cause.message}` : '';
    process.stderr.write(`${error instanceof Error ? error.message : error}${cause}\n`);
    process.exitCode = 1;
  }
}
