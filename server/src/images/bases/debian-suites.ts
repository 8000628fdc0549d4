/**
 * The Debian suites that bases are made of when no registry answers. Sources: https://www.debian.org/releases/ for versions,
 * https://packages.debian.org/python3 for the Python of each. Testing is left out: its Release file expires, its Python changes.
 */

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

/** The suite of a tag that names none, as of Docker Hub's `python` and `debian`. */
export const STABLE = 'trixie';

/** A base that can be made from Debian's packages. Equal bases have equal keys. */
export interface DebianBase {
  readonly key: string;
  readonly suite: Suite;
  /** Named besides those that every base has. */
  readonly packages: readonly string[];
  /** With Debian's own Python, set up as the official image has it. */
  readonly withPython: boolean;
}

/** What Docker Hub's language images have of Debian besides the language. */
const RUNTIME_PACKAGES = ['netbase', 'tzdata'];

/** Debian alone. */
export const plainBase = (suite: Suite): DebianBase => ({
  key: `debian:${suite.name}`,
  suite,
  packages: [],
  withPython: false,
});

/** Debian with Debian's Python. */
export const pythonBase = (suite: Suite): DebianBase => ({
  key: `debian:${suite.name}+python`,
  suite,
  packages: [...RUNTIME_PACKAGES, 'python3', 'python3-venv', ...suite.pythonExtra],
  withPython: true,
});

/** Debian to put a language's own release on. */
export const runtimeBase = (suite: Suite): DebianBase => ({
  key: `debian:${suite.name}+runtime`,
  suite,
  packages: RUNTIME_PACKAGES,
  withPython: false,
});

export const suiteNamed = (name: string): Suite | undefined => suites.find((each) => each.name === name);
