/**
 * The Go toolchain as a Go module: https://go.dev/doc/toolchain#select. Pinned by the hash that go.sum would have, newest first. `go mod download -json
 * golang.org/toolchain@v0.0.1-goVERSION.linux-amd64` prints the hash of another.
 */
import { type Architecture, architectures, type PackagedLayer } from './packaged-layer.ts';

const MODULE = 'golang.org/toolchain';

const toolchains: readonly {
  readonly version: string;
  readonly h1: Readonly<Partial<Record<Architecture, string>>>;
}[] = [
  { version: '1.27.4', h1: { x64: 'h1:8Tl0rBb7KdISSdPkZBjlpZxsUBb+004GI/SM2XbmSqI=' } },
  { version: '1.26.11', h1: { x64: 'h1:KyINmJ/FQdKRmDYGuTAAXkumyeR2DyUlSNHZj7XaLFg=' } },
  { version: '1.25.14', h1: { x64: 'h1:XriDgll2yv4W2YeUo2X/WuUuy+iGJkXGH0CQloMBEXo=' } },
  { version: '1.24.13', h1: { x64: 'h1:5sgfUhn9QCgVl4UYj32GrIYFHI3bi2UX55tNfupXwxc=' } },
  { version: '1.23.12', h1: { x64: 'h1:CQZ55qhuGAYcgv4npnr3DsfZP3i8URMjkpv7TYHRIH4=' } },
];

/** Those for an architecture: version and layer (`/usr/local/go`). */
export function goToolchains(
  architecture: Architecture,
): readonly { readonly version: string; readonly layer: PackagedLayer }[] {
  return toolchains.flatMap(({ version, h1: hashes }) => {
    const h1 = hashes[architecture];
    if (h1 === undefined) return [];
    const release = `v0.0.1-go${version}.linux-${architectures[architecture].go}`;
    const root = `${MODULE}@${release}`;
    return [
      {
        version,
        layer: {
          key: JSON.stringify(['go-toolchain', 1, h1]),
          what: `Go ${version} (Go module ${root})`,
          prepare: async (fetcher) => ({
            kind: 'unpack',
            archives: [
              {
                file: await fetcher.goModule(MODULE, release),
                format: 'zip',
                h1,
                picks: [{ from: root, to: 'usr/local/go' }],
                programs: ['usr/local/go/bin', 'usr/local/go/pkg/tool'],
              },
            ],
            links: [],
          }),
        },
      },
    ];
  });
}
