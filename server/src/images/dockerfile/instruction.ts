/** A Dockerfile's instructions as our own types. Variables are not expanded yet: their values are known only while building. */
import type { Healthcheck } from '../image.ts';
import type { Heredoc } from './lines.ts';

/** Shell form is a text for the image's shell, exec form an argument vector. */
export type Command =
  | { readonly form: 'shell'; readonly text: string }
  | { readonly form: 'exec'; readonly argv: readonly string[] };

export interface MountOwner {
  /** Permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** A mount of RUN as it is written, which its variables have not changed yet. */
export interface WrittenMount {
  readonly type: string;
  /** By Docker's first spelling of their names. */
  readonly options: ReadonlyMap<string, string>;
}

/** The mounts of RUN that Skerry has. Each lives for one step and leaves nothing in the image. Targets may be relative to the working directory. */
export type RunMount =
  | ({ readonly type: 'scratch'; readonly target: string } & MountOwner)
  | {
      readonly type: 'bind';
      readonly target: string;
      /** A stage or image; undefined is the build context. */
      readonly from: string | undefined;
      /** Within it; empty is its root. */
      readonly source: string;
      /** Else writes are possible, and lost with the step. */
      readonly readOnly: boolean;
    }
  | ({
      readonly type: 'secret';
      readonly id: string;
      /** The file; undefined when there is only the variable. */
      readonly target: string | undefined;
      /** The variable that holds the value. */
      readonly env: string | undefined;
      readonly required: boolean;
    } & MountOwner);

interface Common {
  /** 1-based line of the Dockerfile where the instruction starts. */
  readonly line: number;
  /** The instruction on one line, for headings, messages and cache keys; heredoc bodies are not in it. */
  readonly source: string;
}

export type Pair = readonly [name: string, value: string];

export type FromInstruction = Common & {
  readonly kind: 'from';
  readonly image: string;
  /** Lower case; undefined without AS. */
  readonly alias: string | undefined;
  readonly platform: string | undefined;
};

export type RunInstruction = Common & {
  readonly kind: 'run';
  readonly command: Command;
  /** Set when the whole command is one heredoc: a script. */
  readonly script: string | undefined;
  readonly mounts: readonly WrittenMount[];
  readonly network: 'open' | 'blocked';
};

export type CopyInstruction = Common & {
  readonly kind: 'copy';
  /** ADD: sources may be URLs. */
  readonly add: boolean;
  /** Archives are unpacked: those of the context by ADD without a word, those of URLs when it is asked for. Undefined: as usual. */
  readonly unpack: boolean | undefined;
  /** `sha256:` and the digest that the file of the one URL must have. */
  readonly checksum: string | undefined;
  /** Sources keep the directories that they are in. */
  readonly parents: boolean;
  /** Patterns of files that are left out. */
  readonly exclude: readonly string[];
  readonly from: string | undefined;
  /** The files are copied into an empty tree and laid over what is there. */
  readonly link: boolean;
  readonly chown: string | undefined;
  readonly chmod: string | undefined;
  readonly sources: readonly string[];
  readonly heredocs: readonly Heredoc[];
  readonly destination: string;
};

export type ArgInstruction = Common & {
  readonly kind: 'arg';
  readonly args: readonly { readonly name: string; readonly value: string | undefined }[];
};

export type Instruction =
  | FromInstruction
  | RunInstruction
  | CopyInstruction
  | ArgInstruction
  | (Common & { readonly kind: 'env' | 'label'; readonly pairs: readonly Pair[] })
  | (Common & { readonly kind: 'workdir' | 'user' | 'stopsignal' | 'maintainer'; readonly value: string })
  | (Common & { readonly kind: 'shell'; readonly argv: readonly string[] })
  | (Common & { readonly kind: 'entrypoint' | 'cmd'; readonly command: Command })
  | (Common & { readonly kind: 'expose'; readonly ports: readonly string[] })
  | (Common & { readonly kind: 'volume'; readonly paths: readonly string[] })
  | (Common & { readonly kind: 'healthcheck'; readonly healthcheck: Healthcheck })
  /** An instruction for builds that start from the image. */
  | (Common & { readonly kind: 'onbuild'; readonly trigger: string });

export interface Dockerfile {
  readonly escapeChar: string;
  /** ARGs before the first FROM, then the stages in order. */
  readonly globalArgs: readonly ArgInstruction[];
  readonly stages: readonly Stage[];
}

export interface Stage {
  readonly from: FromInstruction;
  readonly instructions: readonly Exclude<Instruction, FromInstruction>[];
}
