import { Command, Option } from 'commander';
import type { TokenFile } from '../../../server/src/auth/token-store.ts';
import { readToken, requireRunningServer, type ServerState } from '../server-state.ts';
import { addServerOptions, configOf, serverFlags } from './server-options.ts';

export type EnvFormat = 'sh' | 'json' | 'dotenv';

/** `skerry env`: what a shell needs to talk to the server. */
export function envCommand(): Command {
  const command = new Command('env')
    .description('print what clients need to reach the server; use as: eval "$(skerry env)"')
    .addOption(
      new Option('--format <format>', 'how to print it').choices(['sh', 'json', 'dotenv']).default('sh'),
    );
  return addServerOptions(command, ['dataDir']).action((options: { format: EnvFormat }) => {
    const { dataDir } = configOf(serverFlags(command));
    const variables = clientEnvironment(requireRunningServer(dataDir), readToken(dataDir), process.env);
    process.stdout.write(formatEnvironment(variables, options.format));
  });
}

/**
 * The variables of the official Modal clients, of Modbox, and of the REST interface. The Python client would send calls to this
 * machine through a proxy of the environment; it is told not to when there is one.
 */
export function clientEnvironment(
  { url }: Pick<ServerState, 'url'>,
  token: TokenFile,
  env: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const proxied = ['http_proxy', 'https_proxy', 'all_proxy'].some(
    (name) => env[name] || env[name.toUpperCase()],
  );
  return {
    MODAL_SERVER_URL: url,
    MODAL_TOKEN_ID: token.tokenId,
    MODAL_TOKEN_SECRET: token.tokenSecret,
    ...(proxied ? { MODAL_DISABLE_API_PROXY: '1' } : {}),
    MODBOX_API_URL: url,
    MODBOX_API_TOKEN: `${token.tokenId}:${token.tokenSecret}`,
    SANDBOX_API_KEY: token.apiKey,
  };
}

/** The variables as shell code, one JSON object, or lines of a `.env` file. */
export function formatEnvironment(variables: Readonly<Record<string, string>>, format: EnvFormat): string {
  const lines = (line: (name: string, value: string) => string) =>
    Object.entries(variables)
      .map(([name, value]) => `${line(name, value)}\n`)
      .join('');
  switch (format) {
    case 'sh':
      return lines((name, value) => `export ${name}=${quote(value)}`);
    case 'dotenv':
      return lines((name, value) => `${name}=${JSON.stringify(value)}`);
    case 'json':
      return `${JSON.stringify(variables, null, 2)}\n`;
    default:
      return format satisfies never;
  }
}

/** Plain when that is safe in any shell, else in single quotes. */
const quote = (value: string): string =>
  /^[\w@%+=:,./-]+$/.test(value) ? value : `'${value.replaceAll("'", `'\\''`)}'`;
