/** Writes `src/gen/types.ts` from the schemas that the server validates requests and makes answers with: `npm run generate -w modbox-sdk`. */
import { writeSchemaTypes } from '../../scripts/lib/schema-types.ts';
import { requestSchemaIds } from '../../server/src/api/modbox/schemas.ts';

await writeSchemaTypes(
  new URL('../src/gen/types.ts', import.meta.url),
  requestSchemaIds,
  '/** Generated from the schemas of the server by scripts/generate-types.ts; not to be edited. */',
);
