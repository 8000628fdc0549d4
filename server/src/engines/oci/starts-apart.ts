/**
 * Where runc starts containers: in a mount namespace that has nothing of what other sandboxes have mounted. runc reads its whole table of mounts four times in a start, and the
 * machine's has six lines for each sandbox ([decision 0066](../../../../docs/decisions/0066-starts-in-a-mount-namespace-without-the-others.md)).
 */
import { realpath, writeFile } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { toSkerryError } from '../../errors/skerry-error.ts';
import { run } from '../../platform/command.ts';
import { findProgram, isExecutable } from '../../platform/find-program.ts';
import { unmount } from '../../platform/mounts.ts';
import type { Layout } from './layout.ts';

export class StartsApart {
  readonly #program: string;
  readonly #namespace: string;
  /** Of the server, without links. */
  readonly #runDir: string;

  private constructor(program: string, namespace: string, runDir: string) {
    this.#program = program;
    this.#namespace = namespace;
    this.#runDir = runDir;
  }

  /**
   * Makes the namespace anew, whatever an earlier server left: it lasts until it is unmounted with all of the run directory. The directory for bundles must be there.
   * @param program that of `trees/`
   * @returns why there can be none, where that is so
   */
  static async open(program: string, layout: Layout): Promise<StartsApart | { readonly why: string }> {
    const { runDir, bundlesDir, startsNamespace } = layout;
    try {
      await unmount([startsNamespace]);
      await writeFile(startsNamespace, '', { mode: 0o600 });
      await run([program, 'keep-apart', runDir, startsNamespace]);
      await run([program, 'run-apart', startsNamespace, bundlesDir, '--', 'true']);
      return new StartsApart(program, startsNamespace, await realpath(runDir));
    } catch (error) {
      await unmount([startsNamespace]);
      return { why: toSkerryError(error).message };
    }
  }

  /**
   * The command in there; as it is where its program is missing, which whoever starts it then says.
   * @param paths what it needs of what the server mounted; others are passed over
   */
  async command(
    argv: readonly [string, ...string[]],
    paths: readonly string[],
  ): Promise<[string, ...string[]]> {
    const [program] = argv;
    const isThere = program.includes('/') ? isExecutable(program) : findProgram(program) !== undefined;
    if (!isThere) return [...argv];
    return [this.#program, 'run-apart', this.#namespace, ...(await this.#places(paths)), '--', ...argv];
  }

  /** The server mounts in the run directory alone, there in a directory for each kind: what is at a name in one of these is brought along as a whole. */
  async #places(paths: readonly string[]): Promise<ReadonlySet<string>> {
    // The runtime has words for what is missing.
    const real = await Promise.all(paths.map((path) => realpath(path).catch(() => path)));
    const names = real
      .map((path) => relative(this.#runDir, path).split(sep))
      .filter(([kind, name]) => kind !== '..' && name !== undefined);
    return new Set(names.map(([kind = '', name = '']) => join(this.#runDir, kind, name)));
  }
}
