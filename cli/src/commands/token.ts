import { once } from 'node:events';
import { isIP } from 'node:net';
import tls from 'node:tls';
import { Command, InvalidArgumentError, Option } from 'commander';
import { z } from 'zod';
import { formatColumns } from '../columns.ts';
import { askServer } from '../operator.ts';
import { parseLifetime } from '../option-values.ts';
import { requireRunningServer } from '../server-state.ts';
import { addServerOptions, configOf, serverFlags } from './server-options.ts';

const HANDSHAKE_TIMEOUT_MS = 10_000;

const endpointSchema = z.object({ url: z.string().optional(), fingerprint: z.string() });
const issuedSchema = z.object({ tokenId: z.string(), tokenSecret: z.string() });
const quotasSchema = z.object({
  maxSandboxes: z.number().optional(),
  maxMilliCpu: z.number().optional(),
  maxMemoryMiB: z.number().optional(),
  maxDiskMiB: z.number().optional(),
  createsPerMinute: z.number().optional(),
});
type Quotas = z.infer<typeof quotasSchema>;

const takenSchema = z.object({
  sandboxes: z.number(),
  milliCpu: z.number(),
  memoryMiB: z.number(),
  diskMiB: z.number(),
});

const listSchema = z.object({
  tokens: z.array(
    z.object({
      tokenId: z.string(),
      label: z.string(),
      scope: z.string(),
      createdAtMs: z.number(),
      expiresAtMs: z.number().optional(),
      quotas: quotasSchema.default({}),
      taken: takenSchema.optional(),
    }),
  ),
});
type Listed = z.infer<typeof listSchema>['tokens'][number];

interface CreateFlags {
  readonly label: string;
  readonly scope: string;
  readonly expires?: number;
  readonly maxSandboxes?: number;
  readonly maxCpu?: number;
  readonly maxMemory?: number;
  readonly maxDisk?: number;
  readonly createsPerMinute?: number;
  readonly json?: boolean;
}

/** `skerry token`: tokens for other machines, programs and people, beside the owner's that `skerry env` prints. */
export function tokenCommand(): Command {
  const token = new Command('token').description(
    'make, list and revoke tokens for other machines and programs',
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
    .option('--expires <time>', 'it ends by itself after so long: 12h, 30d', (text: string) =>
      parseLifetime(text),
    )
    .option('--max-sandboxes <count>', 'so many of its sandboxes may run at once', parseCount)
    .option('--max-cpu <cores>', 'these have so many processors together: 4, 1.5', parseCores)
    .option('--max-memory <mib>', 'and so much memory, MiB', parseCount)
    .option('--max-disk <mib>', 'and with those that are suspended so much disk, MiB', parseCount)
    .option('--creates-per-minute <count>', 'so many sandboxes it may make in a minute', parseCount)
    .option('--json', 'print one JSON object')
    .addHelpText(
      'after',
      `
Examples:
  skerry token create --label 'laptop of Ada'
  skerry token create --label dashboard --scope read --expires 30d
  skerry token create --label agent --max-sandboxes 5 --max-cpu 4 --max-memory 8192`,
    );
  addServerOptions(create, ['dataDir']).action(async (flags: CreateFlags) => {
    const { dataDir } = configOf(serverFlags(create));
    const server = requireRunningServer(dataDir);
    const endpoint = await askServer(server, dataDir, { method: 'GET', path: 'token' }, endpointSchema);
    const { label, scope, expires, json } = flags;
    const quotas = quotasOf(flags);
    const body = {
      ...{ label, scope, quotas },
      ...(expires !== undefined && { expiresAtMs: Date.now() + expires }),
    };
    const issued = await askServer(server, dataDir, { method: 'POST', path: 'tokens', body }, issuedSchema);
    const secret = `${issued.tokenId}:${issued.tokenSecret}`;
    const known = endpoint.url !== undefined && (await isTrusted(server.url, new URL(endpoint.url).hostname));
    if (json) {
      process.stdout.write(`${JSON.stringify({ ...issued, ...endpoint, scope, quotas })}\n`);
      return;
    }
    process.stdout.write(describeToken({ secret, ...endpoint, known }));
  });

  const list = new Command('list')
    .description('list the tokens that were made')
    .option('--json', 'print one JSON object a line');
  addServerOptions(list, ['dataDir']).action(async (options: { json?: boolean }) => {
    const { dataDir } = configOf(serverFlags(list));
    const server = requireRunningServer(dataDir);
    const { tokens } = await askServer(server, dataDir, { method: 'GET', path: 'tokens' }, listSchema);
    process.stdout.write(options.json ? tokens.map(jsonOf).join('') : tableOf(tokens));
  });

  const revoke = new Command('revoke')
    .description('make a token useless at once, and end what it is being used for')
    .argument('<id>', 'the part before the colon');
  addServerOptions(revoke, ['dataDir']).action(async (id: string) => {
    const { dataDir } = configOf(serverFlags(revoke));
    const path = `tokens/${encodeURIComponent(id.split(':')[0] ?? '')}`;
    await askServer(requireRunningServer(dataDir), dataDir, { method: 'DELETE', path }, z.unknown());
    process.stdout.write('Revoked.\n');
  });

  return token.addCommand(create).addCommand(list).addCommand(revoke);
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

function quotasOf(flags: CreateFlags): Quotas {
  const { maxSandboxes, maxCpu, maxMemory, maxDisk, createsPerMinute } = flags;
  return {
    ...(maxSandboxes !== undefined && { maxSandboxes }),
    ...(maxCpu !== undefined && { maxMilliCpu: maxCpu }),
    ...(maxMemory !== undefined && { maxMemoryMiB: maxMemory }),
    ...(maxDisk !== undefined && { maxDiskMiB: maxDisk }),
    ...(createsPerMinute !== undefined && { createsPerMinute }),
  };
}

/** What its sandboxes take of each quota it has: `2/5 sandboxes, 1/4 CPU`. */
export function describeQuotas({ quotas, taken }: Pick<Listed, 'quotas' | 'taken'>): string {
  const of = (used: number | undefined, most: number | undefined, unit: string) =>
    most === undefined ? [] : [`${used ?? '?'}/${most} ${unit}`];
  const cores = (milliCpu: number | undefined) => (milliCpu === undefined ? undefined : milliCpu / 1000);
  const parts = [
    ...of(taken?.sandboxes, quotas.maxSandboxes, 'sandboxes'),
    ...of(cores(taken?.milliCpu), cores(quotas.maxMilliCpu), 'CPU'),
    ...of(taken?.memoryMiB, quotas.maxMemoryMiB, 'MiB memory'),
    ...of(taken?.diskMiB, quotas.maxDiskMiB, 'MiB disk'),
    ...(quotas.createsPerMinute === undefined ? [] : [`${quotas.createsPerMinute} creates a minute`]),
  ];
  return parts.length === 0 ? '-' : parts.join(', ');
}

function parseCount(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It must be a whole number, 1 or more.');
}

/** Thousandths of a processor. */
function parseCores(text: string): number {
  const milliCpu = /^\d{1,5}(\.\d{1,3})?$/.test(text) ? Math.round(Number(text) * 1000) : 0;
  if (milliCpu > 0) return milliCpu;
  throw new InvalidArgumentError('It must be a number of processors such as 4 or 1.5.');
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
