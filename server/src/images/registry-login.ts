/** Passwords of registries as Docker and its kin keep them: https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { SkerryError } from '../errors/skerry-error.ts';
import { authKey } from './bases/registry.ts';
import type { RegistryLogin } from './image.ts';

const fileSchema = z.object({ auths: z.record(z.string(), z.object({ auth: z.base64().optional() })) });

/** @throws SkerryError `invalid-argument` for a file that cannot be read, is none of these, or has no password of the registry */
export async function readLogin(file: string, registry: string): Promise<RegistryLogin> {
  const parsed = fileSchema.safeParse(asJson(await read(file)));
  if (!parsed.success)
    throw new SkerryError(
      'invalid-argument',
      `${file} is no file of passwords as \`docker login\` writes one.`,
    );
  const { auth = '' } = parsed.data.auths[authKey(registry)] ?? {};
  const [, username, password] = /^([^:]+):(.+)$/s.exec(Buffer.from(auth, 'base64').toString('utf8')) ?? [];
  if (username === undefined || password === undefined)
    throw new SkerryError(
      'invalid-argument',
      `${file} has no password of ${registry}: docker login ${registry}`,
    );
  return { username, password };
}

async function read(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new SkerryError('invalid-argument', `Cannot read ${file}: ${why}`, { cause: error });
  }
}

/** @returns undefined for what is none; why is not said, since that would quote it */
function asJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
