/** Writes `src/gen/types.ts` from the schemas that the server validates requests and makes answers with: `npm run generate -w modbox-sdk`. */
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { compile, type JSONSchema } from 'json-schema-to-typescript';
import { z } from 'zod';
import { requestSchemaIds } from '../../server/src/api/modbox/schemas.ts';

const target = fileURLToPath(new URL('../src/gen/types.ts', import.meta.url));

/** The TypeScript of all named schemas. */
export async function generateTypes(): Promise<string> {
  const uri = (id: string) => `#/definitions/${id}`;
  // Requests as callers write them (defaults are optional), answers as callers get them.
  const convert = (io: 'input' | 'output') => z.toJSONSchema(z.globalRegistry, { io, uri }).schemas;
  const [inputs, outputs] = [convert('input'), convert('output')];
  const definitions = Object.entries(outputs).map(([id, output]): [string, JSONSchema] => {
    const { $id, $schema, ...schema } = (requestSchemaIds.includes(id) ? inputs[id] : undefined) ?? output;
    // JSON Schema as both libraries mean it; they type it differently.
    return [id, { ...schema, title: id } as JSONSchema];
  });
  const text = await compile({ title: 'Root', definitions: Object.fromEntries(definitions) }, 'Root', {
    unreachableDefinitions: true,
    ignoreMinAndMaxItems: true,
    additionalProperties: false,
    bannerComment:
      '/** Generated from the schemas of the Modbox server by scripts/generate-types.ts; not to be edited. */',
    style: { singleQuote: true, printWidth: 110 },
  });
  // The tool wants a root type and notes who referred to each one; neither says anything to a reader.
  return text
    .replace(/export interface Root \{[^}]*\}\n/, '')
    .replace(
      /\/\*\*\n \* This interface was referenced by `Root`'s JSON-Schema\n \* via the `definition` "\w+"\.\n \*\/\n/g,
      '',
    );
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const types = await generateTypes();
  const before = await readFile(target, 'utf8').catch(() => '');
  if (types !== before) await writeFile(target, types);
}
