/**
 * Says whether a newer gVisor is served than the one that `server/gvisor.json` names: `npm run check:gvisor`. Exit status 0 when there is
 * none, 1 when there is one, 2 when it cannot be told.
 */
import { pathToFileURL } from 'node:url';
import pinned from '../server/gvisor.json' with { type: 'json' };

const TIMEOUT_MS = 30_000;
/** A version of the module is a commit: the moment of the commit, and its hash. */
const VERSION = /^v0\.0\.0-(\d{14})-[0-9a-f]{12}$/;

export type Answer =
  | { readonly kind: 'newest' }
  | { readonly kind: 'newer'; readonly version: string }
  | { readonly kind: 'unknown'; readonly why: string };

const momentOf = (version: string): string | undefined => VERSION.exec(version)?.[1];

/** The proxies that Go would ask over HTTP, in order (https://go.dev/ref/mod#goproxy-protocol). `direct` and `off` name none. */
export const moduleProxies = (goproxy: string | undefined): string[] =>
  (goproxy || 'https://proxy.golang.org,direct')
    .split(/[,|]/)
    .map((each) => each.trim().replace(/\/+$/, ''))
    .filter((each) => /^https?:\/\//.test(each));

/**
 * Asks a proxy for the end of the `go` branch, which not every proxy answers, and for the versions that it has.
 * @returns versions, unordered; or why there are none
 */
async function versionsAt(proxy: string): Promise<{ versions: string[]; why: string }> {
  const ask = async (what: string): Promise<string> => {
    const url = `${proxy}/${pinned.module}/@v/${what}`;
    const response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!response.ok) throw new Error(`${new URL(url).host} answers ${response.status} for ${what}`);
    return response.text();
  };
  const [branch, list] = await Promise.allSettled([ask('go.info'), ask('list')]);
  const versions: string[] = [];
  const problems: string[] = [];
  if (branch.status === 'fulfilled') {
    const { Version } = JSON.parse(branch.value) as { Version?: unknown };
    if (typeof Version === 'string') versions.push(Version);
  } else problems.push(explain(branch.reason));
  if (list.status === 'fulfilled') versions.push(...list.value.split('\n').map((line) => line.trim()));
  else problems.push(explain(list.reason));
  return {
    versions: versions.filter((version) => momentOf(version) !== undefined),
    why: problems.join('; '),
  };
}

const explain = (error: unknown): string =>
  error instanceof Error
    ? error.cause instanceof Error
      ? error.cause.message
      : error.message
    : String(error);

/** Compares what is pinned with what the first proxy that knows any version has. */
export async function newerGvisor(goproxy: string | undefined, version = pinned.version): Promise<Answer> {
  const whys: string[] = [];
  for (const proxy of moduleProxies(goproxy)) {
    const { versions, why } = await versionsAt(proxy);
    const newest = versions.sort((a, b) => ((momentOf(a) ?? '') < (momentOf(b) ?? '') ? 1 : -1))[0];
    if (newest === undefined) whys.push(why || `${new URL(proxy).host} knows no version`);
    else if ((momentOf(newest) ?? '') > (momentOf(version) ?? '')) return { kind: 'newer', version: newest };
    else return { kind: 'newest' };
  }
  return { kind: 'unknown', why: whys.join('; ') || 'GOPROXY names no module proxy' };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const answer = await newerGvisor(process.env.GOPROXY);
  switch (answer.kind) {
    case 'newest':
      process.stdout.write(`gVisor ${pinned.version} is the newest that is served.\n`);
      break;
    case 'newer':
      process.stdout.write(
        `A newer gVisor is served: ${answer.version} (server/gvisor.json has ${pinned.version}). Put it there, run npm run setup, then npm test.\n`,
      );
      process.exitCode = 1;
      break;
    case 'unknown':
      process.stdout.write(`Whether a newer gVisor is served cannot be told: ${answer.why}.\n`);
      process.exitCode = 2;
      break;
    default:
      answer satisfies never;
  }
}
