/** What the layer worker (`worker.ts`) is asked to do. Sent as JSON on its standard input, so everything here is plain data. */

/** A file of the build context. */
export interface ContextEntry {
  /** Relative to the context's root, without `.` and `..`. */
  readonly path: string;
  /** Where the bytes are on the host. */
  readonly file: string;
  readonly mode: number;
}

export type CopySource =
  | { readonly kind: 'context'; readonly entries: readonly ContextEntry[] }
  /** Layer directories of an image or a stage, lowest first. */
  | { readonly kind: 'layers'; readonly layers: readonly string[] };

export type LayerEdit =
  | { readonly kind: 'make-directory'; readonly path: string }
  | {
      readonly kind: 'copy';
      readonly source: CopySource;
      readonly patterns: readonly string[];
      /** Absolute; a trailing slash says that it is a directory. */
      readonly destination: string;
      /** `user[:group]`, names or numbers; undefined keeps what the source has (0:0 for the context). */
      readonly chown: string | undefined;
      /** Octal digits or changes, as `checkMode` lets them through. */
      readonly chmod: string | undefined;
      /** Sources keep the directories that they are in, from `/./` on where a pattern has that; in patterns `**` is any number of directories. */
      readonly parents: boolean;
      /** Patterns of what is left out, relative to the source's root or to the directory that is copied. */
      readonly exclude: readonly string[];
      readonly heredocs: readonly { readonly name: string; readonly content: string }[];
      /** The layer knows nothing of those below but the owners that `chown` names: directories and links of theirs are no part of it. */
      readonly link: boolean;
      /** A directory that is copied keeps its own owner and mode, as those in it do: for what is mounted. */
      readonly mirror?: true;
      /** ADD: archives among the files are unpacked. */
      readonly unpack: boolean;
    }
  /** A layer of an OCI image, with its whiteouts. */
  | {
      readonly kind: 'apply-tar';
      readonly file: string;
      /** What its files may hold together. */
      readonly maxBytes: number;
    }
  | {
      readonly kind: 'unpack';
      readonly archives: readonly UnpackArchive[];
      readonly links: readonly { readonly path: string; readonly target: string }[];
    }
  | CpythonEdit;

/** Folders (or single files) of an archive that go into the layer. Paths in the layer are relative to its root. */
export interface UnpackArchive {
  readonly file: string;
  readonly format: 'zip' | 'tar';
  /** The hash of the Go module that the archive must be. Other archives are checked when they are downloaded. */
  readonly h1?: string | undefined;
  readonly picks: readonly { readonly from: string; readonly to: string }[];
  /** Folders of the layer whose files are programs, for archives that do not say so. */
  readonly programs: readonly string[];
}

/** A CPython for /usr/local; `cpython.ts` knows the two archives. */
export interface CpythonEdit {
  readonly kind: 'cpython';
  /** `X.Y` */
  readonly series: string;
  /** The Go module that has the interpreter; without it the interpreter is that of the jar. */
  readonly module: { readonly file: string; readonly h1: string; readonly folder: string } | undefined;
  /** Headers, `ensurepip` with its wheels, and an interpreter of the same series. */
  readonly jar: { readonly file: string; readonly folder: string };
}

export interface WorkerJob {
  /** A new empty directory of the caller; the layer is made in its `upper`. */
  readonly workspace: string;
  /** Layer directories below the new one, lowest first. */
  readonly layers: readonly string[];
  readonly edit: LayerEdit;
}

export type WorkerAnswer =
  | { readonly ok: true; readonly notes: readonly string[] }
  /** `caller` when the instruction or the image asked for something that cannot be. */
  | {
      readonly ok: false;
      readonly blame: 'caller' | 'machine';
      readonly code: string;
      readonly message: string;
    };

/** A problem of the instruction or the image, told to the user in these words. */
export class EditError extends Error {
  override readonly name = 'EditError';
}
