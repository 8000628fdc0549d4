/** TypeScript of the named schemas of an HTTP interface: those that the importing program has loaded. */
import { readFile, writeFile } from 'node:fs/promises';
import { compile, type JSONSchema } from 'json-schema-to-typescript';
import { z } from 'zod';

/**
 * Writes the file, or with `--check` on the command line fails when it is not as it should be.
 * @param requestIds names of those that are requests, as callers write them (defaults are optional); the others are answers, as callers get them
 * @param banner first line of the file
 */
export async function writeSchemaTypes(
  target: URL,
  requestIds: readonly string[],
  banner: string,
): Promise<void> {
  const types = await schemaTypes(requestIds, banner);
  if (types === (await readFile(target, 'utf8').catch(() => ''))) return;
  if (!process.argv.includes('--check')) return writeFile(target, types);
  console.error(`${target.pathname} does not match the schemas: npm run generate in its package.`);
  process.exitCode = 1;
}

async function schemaTypes(requestIds: readonly string[], banner: string): Promise<string> {
  const uri = (id: string) => `#/definitions/${id}`;
  const convert = (io: 'input' | 'output') => z.toJSONSchema(z.globalRegistry, { io, uri }).schemas;
  const [inputs, outputs] = [convert('input'), convert('output')];
  const definitions = Object.entries(outputs).map(([id, output]): [string, JSONSchema] => {
    const { $id, $schema, ...schema } = (requestIds.includes(id) ? inputs[id] : undefined) ?? output;
    // JSON Schema as both libraries mean it; they type it differently.
    return [id, { ...schema, title: id } as JSONSchema];
  });
  const text = await compile({ title: 'Root', definitions: Object.fromEntries(definitions) }, 'Root', {
    unreachableDefinitions: true,
    ignoreMinAndMaxItems: true,
    additionalProperties: false,
    bannerComment: banner,
    style: { singleQuote: true, printWidth: 110 },
  });
  // The tool wants a root type and notes who referred to each one; neither says anything to a reader.
  return text
    .replace(/export interface Root \{[^}]*\}\n/, '')
    .replace(
      /( \*\n)? \* This interface was referenced by `Root`'s JSON-Schema\n \* via the `definition` "\w+"\.\n/g,
      '',
    )
    .replaceAll('/**\n */\n', '');
}
