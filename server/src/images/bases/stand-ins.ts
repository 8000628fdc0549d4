/**
 * What an image is made of when no registry answers: Docker Hub's `debian`, `python`, `node` and `golang` (https://hub.docker.com/_/python and so on
 * for their tags) and uv's image (https://docs.astral.sh/uv/guides/integration/docker/), from Debian's packages and those of languages.
 */
import type { ImageConfig } from '../image.ts';
import type { DownloadOptions } from '../packages/download.ts';
import { goToolchains } from '../packages/go-toolchain.ts';
import { nodeLayer } from '../packages/node.ts';
import type { Architecture, PackagedLayer } from '../packages/packaged-layer.ts';
import { type Cpython, cpythons, pythonLinks, seriesOf } from '../packages/python.ts';
import type { PackageSources } from '../packages/sources.ts';
import { uvLayer } from '../packages/uv.ts';
import { newestOf } from '../packages/versions.ts';
import {
  type DebianBase,
  plainBase,
  pythonBase,
  runtimeBase,
  STABLE,
  type Suite,
  suiteNamed,
  suites,
} from './debian-suites.ts';
import type { Reference } from './reference.ts';

/** A layer of a stand-in. Which version it is may be known only after its registry was asked. */
export type Part = (
  sources: PackageSources,
  options: DownloadOptions,
) => Promise<{ readonly layer: PackagedLayer; readonly env?: Readonly<Record<string, string>> }>;

export interface StandIn {
  /** Undefined: nothing but the parts. */
  readonly debian: DebianBase | undefined;
  readonly parts: readonly Part[];
  readonly config: Partial<ImageConfig>;
  /** What differs from the image that was asked for, one sentence each. */
  readonly notes: readonly string[];
}

export type StandInMatch =
  | ({ readonly kind: 'stand-in' } & StandIn)
  /** An image of the kinds above that cannot be made; `why` says what can. */
  | { readonly kind: 'unavailable'; readonly why: string }
  | { readonly kind: 'none' };

const unavailable = (why: string): StandInMatch => ({ kind: 'unavailable', why });
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** The suite of Docker Hub's `node` and `golang` where the tag names none. */
const OLD_STABLE = 'bookworm';
const SLIM = 'It is the slim variant: compilers and headers of libraries come with `apt-get install`.';

/** @param architecture undefined on machines for which only Debian has packages */
export function matchStandIn(reference: Reference, architecture: Architecture | undefined): StandInMatch {
  const { registry, repository, tag, digest } = reference;
  if (tag === undefined || digest !== undefined) return { kind: 'none' };
  switch (`${registry}/${repository}`) {
    case 'docker.io/library/debian':
      return matchDebian(tag);
    case 'docker.io/library/python':
      return matchPython(tag, architecture);
    case 'docker.io/library/node':
      return matchNode(tag, architecture);
    case 'docker.io/library/golang':
      return matchGolang(tag, architecture);
    case 'ghcr.io/astral-sh/uv':
      return matchUv(tag, architecture);
    default:
      return { kind: 'none' };
  }
}

function matchDebian(tag: string): StandInMatch {
  const name = tag.replace(/-slim$/, '').replace(/-\d{8}$/, '');
  const suite =
    name === 'latest' || name === 'stable'
      ? suiteNamed(STABLE)
      : (suiteNamed(name) ?? suites.find(({ version }) => new RegExp(`^${version}(\\.\\d+)?$`).test(name)));
  if (!suite)
    return unavailable(
      `no bootstrap for Debian \`${tag}\`; these work: ${suites.map((each) => each.name).join(', ')}`,
    );
  const exact = name === suite.name || name === String(suite.version);
  const notes = exact ? [] : [`The tag names ${tag}; the current Debian ${suite.name} is used.`];
  return { kind: 'stand-in', debian: plainBase(suite), parts: [], config: {}, notes };
}

interface LanguageTag {
  /** `X`, `X.Y` or `X.Y.Z`; '' when it names none. */
  readonly version: string;
  /** Undefined when it names none. */
  readonly suite: Suite | undefined;
  readonly isSlim: boolean;
}

/** `3.12-slim-bookworm`, `22-bookworm-slim`, `slim`, `latest` and the like. */
function parseLanguageTag(tag: string): LanguageTag | undefined {
  const [first = '', ...words] = tag.split('-');
  const hasVersion = /^\d+(\.\d+){0,2}$/.test(first);
  const rest = hasVersion || first === 'latest' ? words : [first, ...words];
  const suite = rest.map(suiteNamed).find((found) => found !== undefined);
  if (rest.some((word) => word !== 'slim' && word !== suite?.name) || new Set(rest).size < rest.length)
    return undefined;
  return { version: hasVersion ? first : '', suite, isSlim: rest.includes('slim') };
}

const noVariant = (tag: string): StandInMatch =>
  unavailable(
    `nothing stands in for the variant \`${tag}\` (Debian suites: ${suites.map(({ name }) => name).join(', ')})`,
  );

function matchPython(tag: string, architecture: Architecture | undefined): StandInMatch {
  const parsed = parseLanguageTag(tag);
  if (!parsed) return noVariant(tag);
  const { version, suite, isSlim } = parsed;
  const slim = isSlim ? [] : [SLIM];
  const series = seriesOf(version);
  const wanted = suite ?? suiteNamed(STABLE);
  const inDebian =
    version === '' || version === '3' ? wanted : suites.find(({ python }) => python === series);
  const packaged = (architecture ? cpythons(architecture) : []).filter(({ isFull }) => isFull);
  const exact = packaged.find((each) => each.version === version);
  // Debian's own where it has that Python: it gets security updates.
  if (!exact && inDebian && (suite === undefined || suite === inDebian))
    return fromDebian(inDebian, [...patchNote(version, `Debian's current ${inDebian.python}`), ...slim]);
  const standIn = exact ?? packaged.find((each) => seriesOf(each.version) === series);
  if (standIn && wanted)
    return fromPackages(standIn, wanted, [...patchNote(version, standIn.version), ...slim]);
  if (inDebian) {
    return fromDebian(inDebian, [
      `The tag names ${suite?.name}; Debian ${inDebian.name} is used, since it is the suite with Python ${inDebian.python}.`,
      ...patchNote(version, `Debian's current ${inDebian.python}`),
      ...slim,
    ]);
  }
  const works = [...suites.map(({ python }) => python), ...packaged.map((each) => seriesOf(each.version))];
  return unavailable(
    `no package has Python ${version} for this machine; these work: ${[...new Set(works)].sort(byNumber).join(', ')}`,
  );
}

const byNumber = (a: string, b: string) => a.localeCompare(b, 'en', { numeric: true });

const patchNote = (asked: string, used: string): string[] =>
  asked.split('.').length === 3 && asked !== used ? [`The tag names Python ${asked}; ${used} is used.`] : [];

const fromDebian = (suite: Suite, notes: readonly string[]): StandInMatch => ({
  kind: 'stand-in',
  debian: pythonBase(suite),
  parts: [],
  config: {},
  notes,
});

const fromPackages = (python: Cpython, suite: Suite, notes: readonly string[]): StandInMatch => ({
  kind: 'stand-in',
  debian: runtimeBase(suite),
  parts: [async () => ({ layer: python.layer }), async () => ({ layer: pythonLinks })],
  config: { env: { PATH, LANG: 'C.UTF-8', PYTHON_VERSION: python.version }, cmd: ['python3'] },
  notes,
});

function matchNode(tag: string, architecture: Architecture | undefined): StandInMatch {
  const parsed = parseLanguageTag(tag.replace(/^current\b/, 'latest'));
  const suite = parsed?.suite ?? suiteNamed(OLD_STABLE);
  if (!parsed || !suite) return noVariant(tag);
  if (!architecture) return unavailable(`npm has no Node for ${process.arch}`);
  const part: Part = async (sources, options) => {
    const { version, layer } = await nodeLayer(parsed.version, architecture, sources, options);
    return { layer, env: { NODE_VERSION: version } };
  };
  return {
    kind: 'stand-in',
    debian: runtimeBase(suite),
    parts: [part],
    config: { env: { PATH }, cmd: ['node'] },
    notes: ['It has no yarn and no corepack.', ...(parsed.isSlim ? [] : [SLIM])],
  };
}

function matchGolang(tag: string, architecture: Architecture | undefined): StandInMatch {
  const parsed = parseLanguageTag(tag);
  const suite = parsed?.suite ?? suiteNamed(OLD_STABLE);
  if (!parsed || !suite || parsed.isSlim) return noVariant(tag);
  const toolchains = architecture ? goToolchains(architecture) : [];
  const series = seriesOf(parsed.version);
  const exact = toolchains.find((each) => each.version === parsed.version);
  const newest = newestOf(
    series,
    toolchains.map((each) => each.version),
  );
  const toolchain = exact ?? toolchains.find((each) => each.version === newest);
  if (!toolchain) {
    const works = toolchains.map((each) => each.version).join(', ') || `none for ${process.arch}`;
    return unavailable(`no package has Go ${parsed.version} for this machine; these work: ${works}`);
  }
  const env = {
    PATH: `/go/bin:/usr/local/go/bin:${PATH}`,
    GOPATH: '/go',
    GOTOOLCHAIN: 'local',
    GOLANG_VERSION: toolchain.version,
  };
  const differs = parsed.version.split('.').length === 3 && !exact;
  return {
    kind: 'stand-in',
    debian: runtimeBase(suite),
    parts: [async () => ({ layer: toolchain.layer })],
    config: { env, cmd: ['bash'], workdir: '/go' },
    notes: [
      ...(differs ? [`The tag names Go ${parsed.version}; ${toolchain.version} is used.`] : []),
      'Compilers for cgo, git and make come with `apt-get install`.',
    ],
  };
}

function matchUv(tag: string, architecture: Architecture | undefined): StandInMatch {
  const version = tag === 'latest' ? '' : tag;
  if (version !== '' && !/^\d+(\.\d+){0,2}$/.test(version))
    return unavailable(`nothing stands in for the variant \`${tag}\` of uv's image, only for plain versions`);
  if (!architecture) return unavailable(`PyPI has no uv for ${process.arch}`);
  return {
    kind: 'stand-in',
    debian: undefined,
    parts: [async (sources, options) => uvLayer(version, architecture, sources, options)],
    config: { entrypoint: ['/uv'], workdir: '/io' },
    notes: [],
  };
}
