/** A real registry, Debian's docker-registry, of a test's own: https://distribution.github.io/distribution/about/configuration/ */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram } from '../../server/src/platform/find-program.ts';
import { freePort } from '../../server/src/platform/testing/free-port.ts';
import { delay } from '../../server/src/platform/wait.ts';

const START_ATTEMPTS = 100;

export interface DockerRegistry extends AsyncDisposable {
  /** Address and port, on loopback and without TLS. */
  readonly host: string;
}

/**
 * @param directory a directory of the caller for what it has
 * @param logins who may use it, as htpasswd(1) writes them; undefined: everybody
 * @returns undefined where `docker-registry` is not in PATH
 */
export async function startDockerRegistry(
  directory: string,
  logins?: string,
): Promise<DockerRegistry | undefined> {
  const program = findProgram('docker-registry');
  if (!program) return undefined;
  mkdirSync(directory);
  const [config, users] = [join(directory, 'config.yml'), join(directory, 'logins')];
  const host = `127.0.0.1:${await freePort()}`;
  if (logins !== undefined) writeFileSync(users, logins);
  writeFileSync(
    config,
    // JSON is YAML.
    JSON.stringify({
      version: 0.1,
      log: { level: 'warn' },
      storage: { filesystem: { rootdirectory: join(directory, 'storage') } },
      http: { addr: host },
      ...(logins !== undefined && { auth: { htpasswd: { realm: 'test', path: users } } }),
    }),
  );
  const registry = spawn(program, ['serve', config], { stdio: 'ignore' });
  const close = async () => {
    if (registry.exitCode !== null) return;
    const exit = once(registry, 'exit');
    registry.kill();
    await exit;
  };
  for (let attempt = 0; attempt < START_ATTEMPTS; attempt++) {
    if (await fetch(`http://${host}/v2/`).catch(() => undefined))
      return { host, [Symbol.asyncDispose]: close };
    await delay(100);
  }
  await close();
  throw new Error('docker-registry did not answer');
}
