/** Node and npm from the npm registry: the packages that `npm install node` unpacks hold Node's own release. */
import { z } from 'zod';
import { SkerryError } from '../../errors/skerry-error.ts';
import { type DownloadOptions, fetchText } from './download.ts';
import { type Architecture, architectures, type PackagedLayer } from './packaged-layer.ts';
import type { PackageSources } from './sources.ts';
import { newestOf } from './versions.ts';

/** https://github.com/npm/registry/blob/main/docs/responses/package-metadata.md, the abbreviated form */
const metadataSchema = z.object({
  versions: z.record(
    z.string(),
    z.object({ dist: z.object({ tarball: z.url(), integrity: z.string().optional() }) }),
  ),
});
const ABBREVIATED = 'application/vnd.npm.install-v1+json';

interface Tarball {
  readonly version: string;
  readonly url: string;
  readonly sha512: string;
}

/** Layer (`/usr/local`) of the newest Node of a series. @throws SkerryError `image-build-failed` when the registry has none */
export async function nodeLayer(
  series: string,
  architecture: Architecture,
  sources: PackageSources,
  options: DownloadOptions,
): Promise<{ readonly version: string; readonly layer: PackagedLayer }> {
  const packageName = `node-linux-${architectures[architecture].npm}`;
  const node = await newestTarball(packageName, series, sources, options);
  const npm = await newestTarball('npm', npmSeries(node.version), sources, options);
  const npmFolder = 'usr/local/lib/node_modules/npm';
  return {
    version: node.version,
    layer: {
      key: JSON.stringify(['node', 1, node.sha512, npm.sha512]),
      what: `Node ${node.version} (npm package ${packageName}) with npm ${npm.version}`,
      prepare: async (fetcher) => ({
        kind: 'unpack',
        archives: [
          {
            file: await fetcher.registryFile(node.url, 'node.tgz', { algorithm: 'sha512', hex: node.sha512 }),
            format: 'tar',
            picks: [
              { from: 'package/bin/node', to: 'usr/local/bin/node' },
              { from: 'package/include', to: 'usr/local/include' },
              { from: 'package/share', to: 'usr/local/share' },
            ],
            programs: ['usr/local/bin'],
          },
          {
            file: await fetcher.registryFile(npm.url, 'npm.tgz', { algorithm: 'sha512', hex: npm.sha512 }),
            format: 'tar',
            picks: [{ from: 'package', to: npmFolder }],
            programs: [`${npmFolder}/bin`],
          },
        ],
        links: [
          { path: 'usr/local/bin/nodejs', target: 'node' },
          { path: 'usr/local/bin/npm', target: '../lib/node_modules/npm/bin/npm-cli.js' },
          { path: 'usr/local/bin/npx', target: '../lib/node_modules/npm/bin/npx-cli.js' },
        ],
      }),
    },
  };
}

/** The npm that Node's own releases bring: https://nodejs.org/en/about/previous-releases. */
function npmSeries(nodeVersion: string): string {
  const major = Number.parseInt(nodeVersion, 10);
  return major >= 24 ? '11' : major >= 18 ? '10' : '8';
}

async function newestTarball(
  name: string,
  series: string,
  { npmRegistry }: PackageSources,
  options: DownloadOptions,
): Promise<Tarball> {
  const { text } = await fetchText(`${npmRegistry}/${name}`, ABBREVIATED, options);
  const { versions } = parse(name, text);
  const version = newestOf(series, Object.keys(versions));
  const found = version === undefined ? undefined : versions[version];
  if (version === undefined || !found)
    throw new SkerryError('image-build-failed', `the npm registry has no ${name} ${series}`);
  const { tarball, integrity = '' } = found.dist;
  const sha512 = /(?:^| )sha512-([A-Za-z0-9+/]{86}==)(?: |$)/.exec(integrity)?.[1];
  if (sha512 === undefined)
    throw new SkerryError('image-build-failed', `the npm registry tells no SHA-512 of ${name} ${version}`);
  return { version, url: tarball, sha512: Buffer.from(sha512, 'base64').toString('hex') };
}

function parse(name: string, text: string): z.infer<typeof metadataSchema> {
  try {
    return metadataSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new SkerryError('image-build-failed', `the npm registry's answer for ${name} is not one`, {
      cause,
    });
  }
}
