/** The same small Debian for all contenders that bring no images of their own. */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { configSchema } from '../server/src/config/config.ts';
import { run } from '../server/src/platform/command.ts';

/** Makes (once per directory) a minimal Debian as a directory and as a tar. */
export async function makeRootFilesystem(directory: string): Promise<{ dir: string; tar: string }> {
  const mirror = configSchema.parse({}).debianMirror;
  const tar = join(directory, 'debian.tar');
  const dir = join(directory, 'debian');
  if (!existsSync(dir)) {
    await run(['mmdebstrap', '--quiet', '--variant=minbase', 'bookworm', tar, mirror], {
      timeoutMs: 600_000,
    });
    mkdirSync(dir);
    await run(['tar', '-C', dir, '--exclude=./dev/*', '-xf', tar], { timeoutMs: 120_000 });
  }
  return { dir, tar };
}
