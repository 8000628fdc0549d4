/** The same Dockerfiles built by BuildKit, which is what Docker builds with: what the expectations of `strangers/` are checked against where it is on the machine. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { run } from '../../server/src/platform/command.ts';
import { findProgram } from '../../server/src/platform/find-program.ts';
import { delay } from '../../server/src/platform/wait.ts';
import { runProgram } from '../support/program.ts';
import { definedEnvironment } from '../support/server.ts';
import {
  assertConfig,
  BASES,
  configAt,
  LOOK,
  parseLook,
  type Stranger,
  secretFlags,
  withServed,
  writeBase,
  writeContext,
} from './strangers.ts';

const START_ATTEMPTS = 150;
const descriptors = z.object({ manifests: z.array(z.object({ digest: z.string() })).min(1) });

export class BuildKit {
  readonly #daemon: ChildProcess;
  readonly #scratch: string;
  #base = '';

  private constructor(daemon: ChildProcess, scratch: string) {
    this.#daemon = daemon;
    this.#scratch = scratch;
  }

  /** A daemon of the caller's with the base image; undefined where `buildkitd` and `buildctl` are not in PATH. @param scratch an empty directory */
  static async start(scratch: string): Promise<BuildKit | undefined> {
    const daemon = findProgram('buildkitd');
    if (daemon === undefined || findProgram('buildctl') === undefined) return undefined;
    mkdirSync(scratch, { recursive: true });
    const options = ['--root', join(scratch, 'state'), '--containerd-worker=false', '--oci-worker-net=host'];
    const child = spawn(daemon, ['--addr', `unix://${join(scratch, 'sock')}`, ...options], {
      stdio: 'ignore',
    });
    const buildKit = new BuildKit(child, scratch);
    try {
      await buildKit.#ready();
      const context = writeBase(scratch);
      const layout = join(scratch, 'base-layout');
      const { code, stderr } = await buildKit.#build(context, [
        '--output',
        `type=oci,tar=false,dest=${layout}`,
      ]);
      assert.equal(code, 0, stderr);
      const { manifests } = descriptors.parse(JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8')));
      buildKit.#base = `oci-layout://base@${manifests[0]?.digest}`;
    } catch (error) {
      await buildKit.close();
      throw error;
    }
    return buildKit;
  }

  /** Builds one and asserts that the image is what it must be for Skerry too. */
  async try(stranger: Stranger): Promise<void> {
    const { name } = stranger;
    // The frontend that `# syntax=` names is on a registry; the one that is built in is as new.
    const dockerfile = stranger.dockerfile.replace(/^# *syntax *=.*$/m, '#');
    const context = await writeContext({ ...stranger, dockerfile }, this.#scratch);
    const root = join(this.#scratch, `${name}-root`);
    const layout = join(this.#scratch, `${name}-layout`);
    const { code, stderr } = await withServed(stranger, (buildArgs) =>
      this.#build(context, [
        ...Object.entries(buildArgs).flatMap(([key, value]) => ['--opt', `build-arg:${key}=${value}`]),
        ...secretFlags(stranger, this.#scratch),
        ...this.#basesOf(stranger),
        ...['--output', `type=tar,dest=${root}.tar`, '--output', `type=oci,tar=false,dest=${layout}`],
      ]),
    );
    assert.equal(code, 0, stderr);
    mkdirSync(root);
    await run(['tar', '-xpf', `${root}.tar`, '--numeric-owner', '-C', root]);
    assertConfig(stranger, await configAt(`oci:${layout}`));
    const look = join(this.#scratch, 'look');
    writeFileSync(look, LOOK);
    const paths = Object.keys(stranger.files).map((path) => `${path}\n`);
    const found = await runProgram(['/bin/busybox', 'sh', look, root], { env: {}, input: paths.join('') });
    assert.deepEqual(parseLook(found.stdout), stranger.files);
  }

  /** A stage of the name of an image would be replaced by it. */
  #basesOf({ dockerfile }: Stranger): string[] {
    const images = BASES.filter((name) => !new RegExp(`\\sas ${name}$`, 'im').test(dockerfile));
    const contexts = images.flatMap((name) => ['--opt', `context:${name}=${this.#base}`]);
    return [...contexts, '--oci-layout', `base=${join(this.#scratch, 'base-layout')}`];
  }

  async close(): Promise<void> {
    if (this.#daemon.exitCode !== null) return;
    const exit = once(this.#daemon, 'exit');
    this.#daemon.kill('SIGTERM');
    await exit;
  }

  #ctl(...args: string[]) {
    return runProgram(['buildctl', '--addr', `unix://${join(this.#scratch, 'sock')}`, ...args], {
      env: definedEnvironment(),
    });
  }

  #build(context: string, options: readonly string[]) {
    const local = ['--local', `context=${context}`, '--local', `dockerfile=${context}`];
    return this.#ctl('build', '--frontend', 'dockerfile.v0', '--progress', 'plain', ...local, ...options);
  }

  async #ready(): Promise<void> {
    for (let attempt = 0; attempt < START_ATTEMPTS; attempt++) {
      if (this.#daemon.exitCode !== null)
        throw new Error(`buildkitd ended with status ${this.#daemon.exitCode}`);
      if ((await this.#ctl('debug', 'workers')).code === 0) return;
      await delay(200);
    }
    throw new Error('buildkitd did not answer');
  }
}
