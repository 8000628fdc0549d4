/** Sandboxes whose file helper is the real one, run on this machine's own files; other programs are fakes. For tests of the file API in a directory of theirs. */
import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { agentBinaryPath } from '../../../agent/agent-binary.ts';
import { GUEST_FS_TOOLS } from '../../../engines/paths.ts';
import type { ProcessId } from '../../../ids.ts';
import { run } from '../../../platform/command.ts';
import type { ExecSpec, SandboxSpec } from '../../../sandboxes/spec.ts';
import { type FakeProcess, FakeSandbox } from './fake-sandboxes.ts';

export class HostSandbox extends FakeSandbox {
  readonly #helper: string;

  /** @param directory holds the helper under the name it answers to */
  constructor(spec: SandboxSpec, directory: string) {
    super(spec, 1_700_000_000_000);
    this.#helper = join(directory, 'modal-sandbox-fs-tools');
    symlinkSync(agentBinaryPath(), this.#helper);
  }

  override async exec(id: ProcessId, spec: ExecSpec): Promise<FakeProcess> {
    const process = await super.exec(id, spec);
    const [program, request = ''] = spec.argv;
    if (program !== GUEST_FS_TOOLS) return process;
    // What a write gets is known when its input ends; the others have none.
    if (request.startsWith('{"WriteFile"')) {
      process.closeStdin = () => this.#runHelper(process, request);
    } else {
      await this.#runHelper(process, request);
    }
    return process;
  }

  async #runHelper(process: FakeProcess, request: string): Promise<void> {
    const input = Buffer.concat(process.input);
    const { code, stdout, stderr } = await run([this.#helper, request], { input, okCodes: [1] });
    process.stdout.write(stdout);
    process.stderr.write(stderr);
    process.finish({ kind: 'code', code, timedOut: false });
  }
}
