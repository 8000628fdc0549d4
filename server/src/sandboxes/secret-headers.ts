/** How a caller asks for headers whose values a sandbox does not know, and what becomes of that. */
import type { HeaderRule, NetworkPolicy } from '../engines/engine.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import { domainPattern } from '../platform/domain-patterns.ts';
import { clip } from '../platform/text.ts';
import { openJson, sealJson } from '../secrets/sealed-json.ts';
import type { SecretSource, Vault } from '../secrets/secrets.ts';

export interface SecretHeaderSpec {
  /** A pattern: a domain, one with `*.` before it, or `*`. */
  readonly domain: string;
  /** Values by the names of headers. `$KEY` in one stands for a value of the secret, `$$` for a dollar. */
  readonly headers: Readonly<Record<string, string>>;
  readonly secret?: SecretSource;
}

/** The clients' own bound. */
const MAX_HEADERS = 25;
/** Bytes of a value: what servers take of all headers together is 8 KiB with many. */
const MAX_VALUE_BYTES = 8192;
const MAX_NAME = 256;
const headerName = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/;
/** What tells where a request goes, how long it is, or what becomes of its connection. */
const reserved =
  /^(host|connection|content-length|expect|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade)$/i;
/** What no header may hold (RFC 9110, 5.5). */
const control = /(?!\t)\p{Cc}/u;
/** What a sealed list belongs to, for the vault. */
const CONTEXT = 'secret-headers';

const invalid = (message: string): SkerryError => new SkerryError('invalid-argument', message);

/**
 * With the values of secrets in them.
 * @throws SkerryError `invalid-argument` for what is no domain, header or value, naming which but never its value; what `resolve` throws
 */
export function fillHeaders(
  specs: readonly SecretHeaderSpec[],
  resolve: (sources: readonly SecretSource[]) => Readonly<Record<string, string>>,
): readonly HeaderRule[] {
  const count = specs.reduce((sum, { headers }) => sum + Object.keys(headers).length, 0);
  if (count > MAX_HEADERS)
    throw invalid(`An outbound policy can have at most ${MAX_HEADERS} headers, not ${count}.`);
  return specs.map(({ domain, headers, secret }) => {
    const pattern = domainPattern(domain);
    if (pattern === undefined) throw invalid(`Invalid domain: ${domain.slice(0, 64)}`);
    if (Object.keys(headers).length === 0) throw invalid(`The headers for ${pattern} are missing.`);
    const values = secret ? resolve([secret]) : undefined;
    const filled = Object.entries(headers).map(([name, template]) => {
      checkName(name);
      return [name, checkValue(name, fill(name, template, values))] as const;
    });
    return { domain: pattern, headers: Object.fromEntries(filled) };
  });
}

/** As a policy has them (`NetworkPolicy.headers`): only whoever has the vault learns a value. */
export const sealHeaders = (rules: readonly HeaderRule[], vault: Vault): string =>
  Buffer.from(sealJson(vault, rules, CONTEXT)).toString('base64');

/** The inverse of `sealHeaders`. */
export const openHeaders = (sealed: string, vault: Vault): readonly HeaderRule[] =>
  openJson(vault, Buffer.from(sealed, 'base64'), CONTEXT);

export const withHeaders = (policy: NetworkPolicy, headers: string | undefined): NetworkPolicy =>
  headers === undefined ? policy : { ...policy, headers };

function checkName(name: string): void {
  if (!headerName.test(name) || name.length > MAX_NAME) throw invalid(`Invalid header name: ${clip(name)}`);
  if (reserved.test(name)) throw invalid(`The header ${clip(name)} cannot be replaced.`);
}

function checkValue(name: string, value: string): string {
  if (control.test(value)) throw invalid(`The value of the header ${clip(name)} has control characters.`);
  if (Buffer.byteLength(value) > MAX_VALUE_BYTES)
    throw invalid(`The value of the header ${clip(name)} is longer than ${MAX_VALUE_BYTES} bytes.`);
  return value;
}

function fill(name: string, template: string, values: Readonly<Record<string, string>> | undefined): string {
  return template.replaceAll(/\$(\$|[A-Za-z_][A-Za-z0-9_]*)/g, (_, key: string) => {
    if (key === '$') return '$';
    if (!values) throw invalid(`The header ${clip(name)} refers to a key of a secret, but has no secret.`);
    if (!Object.hasOwn(values, key))
      throw invalid(`The secret of the header ${clip(name)} has no key ${clip(key)}.`);
    return values[key] ?? '';
  });
}
