/**
 * The named schemas of the OpenAPI document. The type provider writes each one twice, as `X` for answers and as `XInput` for requests, used or not; here every
 * schema is one or the other, so what nobody refers to goes and the rest gets its plain name.
 */
import type { SwaggerTransformObject } from '@fastify/swagger';

type Document = ReturnType<SwaggerTransformObject>;

const PREFIX = '#/components/schemas/';

export function tidyComponents(document: Document): Document {
  const components = 'components' in document ? document.components : undefined;
  const schemas: Readonly<Record<string, unknown>> = components?.schemas ?? {};
  const reachable = new Set<string>();
  const visit = (value: unknown): void => {
    for (const name of references(value)) {
      if (reachable.has(name)) continue;
      reachable.add(name);
      visit(schemas[name]);
    }
  };
  visit('paths' in document ? document.paths : undefined);
  // The events of a stream are no answer's body; whoever reads them needs their shape all the same.
  visit({ $ref: `${PREFIX}StreamEvents` });

  const plainName = (name: string) => {
    const plain = name.replace(/Input$/, '');
    return reachable.has(plain) ? name : plain;
  };
  const kept = Object.entries(schemas).filter(([name]) => reachable.has(name));
  const renamed = Object.fromEntries(kept.map(([name, schema]) => [plainName(name), schema]));
  const tidy = { ...document, components: { ...components, schemas: renamed } };
  // JSON in, JSON out: only the values of $ref change.
  return JSON.parse(JSON.stringify(tidy), (key, value: unknown) =>
    key === '$ref' && typeof value === 'string' && value.startsWith(PREFIX)
      ? PREFIX + plainName(value.slice(PREFIX.length))
      : value,
  ) as Document;
}

/** The schema names that a part of the document refers to. */
function references(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) =>
    key === '$ref' && typeof inner === 'string' ? [inner.slice(PREFIX.length)] : references(inner),
  );
}
