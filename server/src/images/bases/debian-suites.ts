/**
 * Which Debian suite stands in for `python:…` and `debian:…` when no registry does.
 * Sources: https://www.debian.org/releases/ for versions, https://packages.debian.org/python3 for the Python of each suite,
 * https://hub.docker.com/_/python and https://hub.docker.com/_/debian for the tags. Testing is left out: its Release file expires, its Python changes.
 */
import type { Reference } from './reference.ts';

export interface Suite {
  readonly name: string;
  readonly version: number;
  /** `X.Y` */
  readonly python: string;
  /** Packages that complete Python's standard library, which Debian splits up. */
  readonly pythonExtra: readonly string[];
  /** Packages named for every base of the suite. */
  readonly baseExtra: readonly string[];
  /** Where apt's sources are: one-line format before Debian 12's images changed to deb822. */
  readonly sourcesFormat: 'list' | 'deb822';
}

export const suites: readonly Suite[] = [
  {
    name: 'bullseye',
    version: 11,
    python: '3.9',
    baseExtra: [],
    pythonExtra: ['python3-distutils'],
    sourcesFormat: 'list',
  },
  {
    name: 'bookworm',
    version: 12,
    python: '3.11',
    // Without it apt chooses usrmerge, which brings all of Perl (47 MB).
    baseExtra: ['usr-is-merged'],
    pythonExtra: ['python3-distutils'],
    sourcesFormat: 'deb822',
  },
  { name: 'trixie', version: 13, python: '3.13', baseExtra: [], pythonExtra: [], sourcesFormat: 'deb822' },
];

const STABLE = 'trixie';

/** A base that can be made from Debian's packages. Equal bases have equal keys. */
export interface DebianBase {
  readonly key: string;
  readonly suite: Suite;
  readonly withPython: boolean;
  /** What differs from the image that was asked for, one sentence each. */
  readonly notes: readonly string[];
}

export type DebianMatch =
  | { readonly kind: 'base'; readonly base: DebianBase }
  /** It names a Python or Debian that none of the suites has; `why` says which ones work. */
  | { readonly kind: 'unavailable'; readonly why: string }
  /** Not an image that Debian's packages could stand in for. */
  | { readonly kind: 'none' };

/** Finds the suite for Docker Hub's `python` and `debian` images. */
export function matchDebian(reference: Reference): DebianMatch {
  if (reference.registry !== 'docker.io') return { kind: 'none' };
  const tag = reference.tag;
  if (tag === undefined || reference.digest !== undefined) return { kind: 'none' };
  if (reference.repository === 'library/python') return matchPython(tag);
  if (reference.repository === 'library/debian') return matchDebianTag(tag);
  return { kind: 'none' };
}

function matchPython(tag: string): DebianMatch {
  const parts = /^(latest|slim|\d+(?:\.\d+){0,2})(?:-(slim))?(?:-([a-z]+))?$/.exec(tag);
  const [, first = '', slim, suiteName] = parts ?? [];
  const known = suites.map(({ name }) => name);
  if (!parts || (suiteName !== undefined && !known.includes(suiteName))) {
    return {
      kind: 'unavailable',
      why: `no Debian package stands in for the variant \`${tag}\` (suites: ${known.join(', ')})`,
    };
  }
  const asked = /^\d/.test(first) ? first : '';
  const series = asked.split('.').slice(0, 2).join('.');
  const suite =
    asked === '' || asked === '3'
      ? (byName(suiteName ?? STABLE) ?? byName(STABLE))
      : suites.find(({ python }) => python === series);
  if (!suite) {
    const works = suites.map(({ name, python }) => `${python} (${name})`).join(', ');
    return { kind: 'unavailable', why: `Debian's packages have no Python ${series}; these work: ${works}` };
  }
  const notes: string[] = [];
  if (suiteName !== undefined && suiteName !== suite.name) {
    notes.push(
      `The tag names ${suiteName}; Debian ${suite.name} is used, since it is the suite with Python ${suite.python}.`,
    );
  }
  if (asked.split('.').length === 3)
    notes.push(`The tag names Python ${asked}; Debian's current ${suite.python} is used.`);
  if (slim === undefined && first !== 'slim')
    notes.push('It is the slim variant: compilers and headers of libraries come with `apt-get install`.');
  return { kind: 'base', base: { key: `debian:${suite.name}+python`, suite, withPython: true, notes } };
}

function matchDebianTag(tag: string): DebianMatch {
  const name = tag.replace(/-slim$/, '').replace(/-\d{8}$/, '');
  const suite =
    name === 'latest' || name === 'stable'
      ? byName(STABLE)
      : (byName(name) ?? suites.find(({ version }) => new RegExp(`^${version}(\\.\\d+)?$`).test(name)));
  if (!suite) {
    return {
      kind: 'unavailable',
      why: `no bootstrap for Debian \`${tag}\`; these work: ${suites.map((each) => each.name).join(', ')}`,
    };
  }
  const notes =
    name === suite.name || name === String(suite.version)
      ? []
      : [`The tag names ${tag}; the current Debian ${suite.name} is used.`];
  return { kind: 'base', base: { key: `debian:${suite.name}`, suite, withPython: false, notes } };
}

const byName = (name: string) => suites.find((each) => each.name === name);
