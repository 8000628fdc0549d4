/** What clients are told: the variables that lead them to a server, for a shell, as JSON, or as a `.env` file. */

export type EnvironmentFormat = 'sh' | 'json' | 'dotenv';
export const environmentFormats: readonly EnvironmentFormat[] = ['sh', 'json', 'dotenv'];

export interface Credentials {
  readonly tokenId: string;
  readonly tokenSecret: string;
  /** The bearer key of the REST API. */
  readonly apiKey: string;
}

/**
 * The variables of the official Modal clients, of Modbox, and of the REST interface. The Python client would send calls to this
 * machine through a proxy of the environment; it is told not to when there is one.
 */
export function clientEnvironment(
  url: string,
  { tokenId, tokenSecret, apiKey }: Credentials,
  env: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const proxied = ['http_proxy', 'https_proxy', 'all_proxy'].some(
    (name) => env[name] || env[name.toUpperCase()],
  );
  return {
    MODAL_SERVER_URL: url,
    MODAL_TOKEN_ID: tokenId,
    MODAL_TOKEN_SECRET: tokenSecret,
    ...(proxied ? { MODAL_DISABLE_API_PROXY: '1' } : {}),
    MODBOX_API_URL: url,
    MODBOX_API_TOKEN: `${tokenId}:${tokenSecret}`,
    SANDBOX_API_KEY: apiKey,
  };
}

/** The variables as shell code, one JSON object, or lines of a `.env` file. */
export function formatEnvironment(
  variables: Readonly<Record<string, string>>,
  format: EnvironmentFormat,
): string {
  const lines = (line: (name: string, value: string) => string) =>
    Object.entries(variables)
      .map(([name, value]) => `${line(name, value)}\n`)
      .join('');
  switch (format) {
    case 'sh':
      return lines((name, value) => `export ${name}=${shellQuote(value)}`);
    case 'dotenv':
      return lines((name, value) => `${name}=${JSON.stringify(value)}`);
    case 'json':
      return `${JSON.stringify(variables, null, 2)}\n`;
    default:
      return format satisfies never;
  }
}

/** Plain when that is safe in any shell, else in single quotes. */
export const shellQuote = (value: string): string =>
  /^[\w@%+=:,./-]+$/.test(value) ? value : `'${value.replaceAll("'", `'\\''`)}'`;
