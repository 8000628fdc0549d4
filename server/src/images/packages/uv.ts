/** uv from its wheel on PyPI, which holds the same program as the image `ghcr.io/astral-sh/uv`. */
import { z } from 'zod';
import { SkerryError } from '../../errors/skerry-error.ts';
import { type DownloadOptions, fetchText } from './download.ts';
import { type Architecture, architectures, type PackagedLayer } from './packaged-layer.ts';
import type { PackageSources } from './sources.ts';
import { newestOf } from './versions.ts';

/** https://packaging.python.org/en/latest/specifications/simple-repository-api/ */
const JSON_TYPE = 'application/vnd.pypi.simple.v1+json';
const projectSchema = z.object({
  files: z.array(
    z.object({
      filename: z.string(),
      url: z.string(),
      hashes: z.record(z.string(), z.string()),
      yanked: z.union([z.boolean(), z.string()]).optional(),
    }),
  ),
});

interface Wheel {
  readonly version: string;
  readonly platform: string;
  readonly url: string;
  readonly sha256: string;
}

/** Layer (`/uv`, `/uvx`) of the newest uv of a series. @throws SkerryError `image-build-failed` when the index has none */
export async function uvLayer(
  series: string,
  architecture: Architecture,
  { pypiIndex }: PackageSources,
  options: DownloadOptions,
): Promise<{ readonly version: string; readonly layer: PackagedLayer }> {
  const url = `${pypiIndex}/uv/`;
  const answer = await fetchText(url, `${JSON_TYPE}, text/html;q=0.5`, options);
  const files = answer.type.includes('json') ? filesOfJson(answer.text) : filesOfHtml(answer.text);
  const wheels = files
    .flatMap(({ filename, href, sha256 }) => toWheel(filename, new URL(href, url).href, sha256))
    .filter(({ platform }) => platform.endsWith(`_${architectures[architecture].wheel}`));
  const version = newestOf(
    series,
    wheels.map((wheel) => wheel.version),
  );
  const candidates = wheels.filter((wheel) => wheel.version === version);
  // The one for musl is linked statically, as in the image: it runs on every base.
  const wheel =
    candidates.find(({ platform }) => platform.includes('musllinux')) ??
    candidates.find(({ platform }) => platform.includes('manylinux'));
  if (version === undefined || !wheel)
    throw new SkerryError('image-build-failed', `the package index has no uv ${series} for this machine`);
  const scripts = `uv-${version}.data/scripts`;
  return {
    version,
    layer: {
      key: JSON.stringify(['uv', 1, wheel.sha256]),
      what: `uv ${version} (its wheel of the package index)`,
      prepare: async (fetcher) => ({
        kind: 'unpack',
        archives: [
          {
            file: await fetcher.registryFile(wheel.url, 'uv.whl', { algorithm: 'sha256', hex: wheel.sha256 }),
            format: 'zip',
            picks: [{ from: scripts, to: '' }],
            programs: [],
          },
        ],
        links: [],
      }),
    },
  };
}

interface IndexedFile {
  readonly filename: string;
  readonly href: string;
  readonly sha256: string;
}

function filesOfJson(text: string): IndexedFile[] {
  try {
    return projectSchema
      .parse(JSON.parse(text))
      .files.filter(({ yanked }) => yanked === undefined || yanked === false)
      .map(({ filename, url, hashes }) => ({ filename, href: url, sha256: hashes.sha256 ?? '' }));
  } catch (cause) {
    throw new SkerryError('image-build-failed', "the package index's answer for uv is not one", { cause });
  }
}

/** Indexes without JSON have one link a file, with the digest in its fragment. */
function filesOfHtml(text: string): IndexedFile[] {
  return [...text.matchAll(/<a\s([^>]*)>([^<]*)<\/a>/gi)].flatMap(([, attributes = '', name = '']) => {
    const href = /(?:^|\s)href\s*=\s*["']([^"']+)["']/i.exec(attributes)?.[1]?.replaceAll('&amp;', '&');
    if (href === undefined || /(?:^|\s)data-yanked/i.test(attributes)) return [];
    const [location = '', fragment = ''] = href.split('#');
    return [
      { filename: name.trim(), href: location, sha256: /^sha256=([0-9a-f]{64})$/.exec(fragment)?.[1] ?? '' },
    ];
  });
}

function toWheel(filename: string, url: string, sha256: string): Wheel[] {
  const [, version, platform] = /^uv-(\d[\d.]*)-py3-none-([\w.]+)\.whl$/.exec(filename) ?? [];
  if (version === undefined || platform === undefined || !/^[0-9a-f]{64}$/.test(sha256)) return [];
  return [{ version, platform, url, sha256 }];
}
