/** Packages as their users get them: packed, and installed elsewhere. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { tool } from '../../scripts/lib/tools.mjs';
import { run } from '../../server/src/platform/command.ts';
import { definedEnvironment, projectRoot } from './server.ts';

export const npmOptions = { timeoutMs: 120_000, env: definedEnvironment() };

/**
 * Packs a package of the project into `directory` and installs it.
 * @param flags say where: in `directory`, where there are none
 * @returns the tarball
 */
export async function installPacked(
  name: string,
  directory: string,
  flags: readonly string[] = [],
): Promise<string> {
  const packed = await run(['npm', 'pack', '--json', '--silent', '--pack-destination', directory], {
    ...npmOptions,
    cwd: join(projectRoot, name),
  });
  const tarball = /"filename":\s*"([^"]+\.tgz)"/.exec(packed.stdout)?.[1];
  assert.ok(tarball, packed.stdout);
  const install = ['npm', 'install', ...flags, '--no-audit', '--no-fund', join(directory, tarball)] as const;
  await run(install, { ...npmOptions, cwd: directory });
  return join(directory, tarball);
}

/** Fails for a package whose `package.json` promises what is not in it, or whose types are not found by every resolver of ES modules. */
export async function assertPublishable(tarball: string): Promise<void> {
  await run([join(projectRoot, 'node_modules/.bin/publint'), '--strict', tarball], npmOptions);
  await run([await tool('attw'), tarball, '--profile', 'esm-only', '--no-color'], npmOptions);
}
