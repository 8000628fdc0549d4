import { once } from 'node:events';
import { isIP } from 'node:net';
import tls from 'node:tls';
import { Command, Option } from 'commander';
import * as z from 'zod/mini';
import { ask } from '../ask.ts';
import { formatColumns } from '../columns.ts';
import { addDataDirOptions, dataDirOf } from '../data-dir.ts';
import { askServer } from '../operator.ts';
import { parseLifetime } from '../option-values.ts';
import {
  addQuotaOptions,
  describeQuotas,
  type QuotaFlags,
  quotasOf,
  quotasSchema,
  takenSchema,
} from '../quotas.ts';
import { requireRunningServer, type ServerState } from '../server-state.ts';
import { oneObject, tell } from '../tell.ts';

const HANDSHAKE_TIMEOUT_MS = 10_000;

const endpointSchema = z.object({ url: z.optional(z.string()), fingerprint: z.string() });
const issuedSchema = z.object({ tokenId: z.string(), tokenSecret: z.string() });
const listSchema = z.object({
  tokens: z.array(
    z.object({
      tokenId: z.string(),
      label: z.string(),
      scope: z.string(),
      createdAtMs: z.number(),
      expiresAtMs: z.optional(z.number()),
      formerUntilMs: z.optional(z.number()),
      quotas: z._default(quotasSchema, {}),
      taken: z.optional(takenSchema),
    }),
  ),
});
type Listed = z.infer<typeof listSchema>['tokens'][number];

interface CreateFlags extends QuotaFlags {
  readonly label: string;
  readonly scope: string;
  readonly expires?: number;
  readonly json?: boolean;
}

interface RotateFlags {
  readonly grace?: number;
  readonly json?: boolean;
}

/** `skerry token`: tokens for other machines, programs and people, beside the owner's that `skerry env` prints. */
export function tokenCommand(): Command {
  const token = new Command('token').description(
    'make, list, rotate and revoke tokens for other machines and programs',
  );

  const create = new Command('create')
    .description('make a token and print what the other machine needs')
    .option('--label <text>', 'whom or what it is for', '')
    .addOption(
      new Option(
        '--scope <scope>',
        'what it may do: look at everything (read), all that programs do as well (sandboxes), or what the operator does too (admin)',
      )
        .choices(['read', 'sandboxes', 'admin'])
        .default('sandboxes'),
    )
    .option('--expires <time>', 'it ends by itself after so long: 12h, 30d', parseLifetime);
  addQuotaOptions(create)
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
Examples:
  skerry token create --label 'laptop of Ada'
  skerry token create --label dashboard --scope read --expires 30d
  skerry token create --label agent --max-sandboxes 5 --max-cpu 4 --max-memory 8192`,
    );
  addDataDirOptions(create).action(async (flags: CreateFlags) => {
    const dataDir = dataDirOf(create);
    const server = requireRunningServer(dataDir);
    const { label, scope, expires, json } = flags;
    const quotas = quotasOf(flags);
    const body = {
      ...{ label, scope, quotas },
      ...(expires !== undefined && { expiresAtMs: Date.now() + expires }),
    };
    const issued = await askServer(server, dataDir, { method: 'POST', path: 'tokens', body }, issuedSchema);
    await print(issued, server, dataDir, json && { scope, quotas });
  });

  const rotate = new Command('rotate')
    .description('give a token another secret; its sandboxes, quotas and id stay')
    .argument('<id>', 'the part before the colon')
    .option('--grace <time>', 'the secret before is good for so long as well: 1h, 7d', parseLifetime)
    .option('--json', 'print one JSON object');
  addDataDirOptions(rotate).action(async (id: string, { grace = 0, json }: RotateFlags) => {
    const dataDir = dataDirOf(rotate);
    const server = requireRunningServer(dataDir);
    const request = { method: 'POST', path: `${pathOf(id)}/secret`, body: { graceMs: grace } } as const;
    await print(await askServer(server, dataDir, request, issuedSchema), server, dataDir, json && {});
  });

  const list = new Command('list')
    .description('list the tokens that were made')
    .option('--json', 'print one JSON object a line');
  addDataDirOptions(list).action(async (options: { json?: boolean }) => {
    const { tokens } = await ask(list, { method: 'GET', path: 'tokens' }, listSchema);
    process.stdout.write(options.json ? tokens.map(jsonOf).join('') : tableOf(tokens));
  });

  const revoke = new Command('revoke')
    .description('make a token useless at once, and end what it is being used for')
    .argument('<id>', 'the part before the colon')
    .option(...oneObject);
  addDataDirOptions(revoke).action(async (id: string, options: { json?: boolean }) => {
    await ask(revoke, { method: 'DELETE', path: pathOf(id) }, z.unknown());
    tell({ tokenId: id.split(':')[0], revoked: true }, 'Revoked.', options);
  });

  return token.addCommand(create).addCommand(list).addCommand(rotate).addCommand(revoke);
}

/** Where the server has that token. @param id perhaps with its secret */
const pathOf = (id: string): string => `tokens/${encodeURIComponent(id.split(':')[0] ?? '')}`;

/** What the other machine needs of a token that has just got its secret. @param asJson what the object has beside it; undefined for words */
async function print(
  issued: z.infer<typeof issuedSchema>,
  server: ServerState,
  dataDir: string,
  asJson: object | undefined | false,
): Promise<void> {
  const endpoint = await askServer(server, dataDir, { method: 'GET', path: 'token' }, endpointSchema);
  if (asJson) {
    process.stdout.write(`${JSON.stringify({ ...issued, ...endpoint, ...asJson })}\n`);
    return;
  }
  const known = endpoint.url !== undefined && (await isTrusted(server.url, new URL(endpoint.url).hostname));
  process.stdout.write(
    describeToken({ secret: `${issued.tokenId}:${issued.tokenSecret}`, ...endpoint, known }),
  );
}

const iso = (ms: number): string => new Date(ms).toISOString();

const jsonOf = ({ createdAtMs, expiresAtMs, ...token }: Listed): string =>
  `${JSON.stringify({ ...token, createdAt: iso(createdAtMs), expiresAt: expiresAtMs === undefined ? null : iso(expiresAtMs) })}\n`;

function tableOf(tokens: readonly Listed[]): string {
  if (tokens.length === 0) return 'No token was made beside the owner’s.\n';
  const end = ({ expiresAtMs }: Listed) => {
    if (expiresAtMs === undefined) return 'never';
    return expiresAtMs <= Date.now() ? 'has expired' : iso(expiresAtMs);
  };
  const rows = tokens.map((each) => [
    ...[each.tokenId, each.scope, iso(each.createdAtMs), end(each), describeQuotas(each)],
    each.label,
  ]);
  return formatColumns([['TOKEN', 'SCOPE', 'CREATED', 'EXPIRES', 'TAKEN OF QUOTAS', 'LABEL'], ...rows]);
}

/** What the other machine needs, ready to be pasted there. */
export function describeToken(made: {
  readonly secret: string;
  readonly fingerprint: string;
  /** Undefined when the server is not open to other machines. */
  readonly url?: string | undefined;
  /** True when any machine trusts the server's certificate: a fingerprint would only go out of date with it. */
  readonly known: boolean;
}): string {
  const { secret, url, fingerprint, known } = made;
  const lines = [`token        ${secret}`, `fingerprint  ${fingerprint}`, ''];
  if (url === undefined) {
    lines.push(
      'The server listens on this machine only. For others: skerry down --keep && skerry up --host 0.0.0.0',
      'The token works here as well: in SKERRY_TOKEN, or as MODAL_TOKEN_ID and MODAL_TOKEN_SECRET.',
    );
  } else {
    lines.push(
      'It is shown this once. On the other machine, with the package skerry-connect:',
      '',
      `SKERRY_TOKEN=${secret} skerry connect ${url}${known ? '' : ` --fingerprint ${fingerprint}`}`,
    );
  }
  return `${lines.join('\n')}\n`;
}

/** Whether the certificate that the server shows is trusted without further ado for a name. */
async function isTrusted(localUrl: string, name: string): Promise<boolean> {
  if (isIP(name)) return false; // TLS names a server by name only, and nobody certifies addresses for everyone
  const { hostname, port } = new URL(localUrl);
  const host = hostname.replace(/^\[|\]$/g, '');
  const socket = tls.connect({ host, port: Number(port), servername: name, ALPNProtocols: ['http/1.1'] });
  try {
    await once(socket, 'secureConnect', { signal: AbortSignal.timeout(HANDSHAKE_TIMEOUT_MS) });
    return socket.authorized;
  } catch {
    return false;
  } finally {
    socket.on('error', () => {}); // given up
    socket.destroy();
  }
}
