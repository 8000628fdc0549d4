/** The service that `skerry install` makes: its text, where it is, and what systemd is told about it. */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { SkerryError } from '../../server/src/local-caller.ts';
import { findProgram, instanceName, isSystemdBooted, run, serviceUnit } from '../../server/src/operator.ts';
import { CliError } from './cli-error.ts';
import { logFile } from './server-state.ts';

const UNIT_DIR = '/etc/systemd/system';
/** On an emulated or very slow machine a start takes minutes; what fails says so sooner. */
const START_TIMEOUT_S = 600;
const SYSTEMCTL_TIMEOUT_MS = (START_TIMEOUT_S + 60) * 1000;

/** Whether this machine's services are systemd's. */
export const hasSystemd = (): boolean => isSystemdBooted() && findProgram('systemctl') !== undefined;

/** @throws CliError saying what to do instead */
export function requireSystemd(there: boolean = hasSystemd()): void {
  if (there) return;
  throw new CliError(
    [
      'systemd does not manage this machine, so there is nothing to install into.',
      'Have whatever starts programs at boot here run, as root: skerry up --foreground',
    ].join('\n'),
  );
}

/** One word of a unit's command line: neither systemd's specifiers nor its variables mean anything in it. */
export function quoteWord(word: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these would end the line or the file
  if (/[\u0000-\u001f\u007f]/.test(word)) {
    throw new CliError(`A service cannot be given ${JSON.stringify(word)}: it has control characters.`);
  }
  const escaped = word
    .replaceAll('\\', '\\\\')
    .replaceAll('"', '\\"')
    .replaceAll('%', '%%')
    .replaceAll('$', '$$$$');
  return `"${escaped}"`;
}

/** Variables that a server heeds besides its own, as it would have them from `skerry up` in this shell. */
const inherited =
  /^(PATH|HOME|XDG_\w+_HOME|SKERRY_\w+|NODE_EXTRA_CA_CERTS|SSL_CERT_FILE|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|PIP_CERT|GIT_SSL_CAINFO|PG(HOST|PORT|USER|PASSWORD|PASSFILE|DATABASE|SSL(MODE|ROOTCERT|CERT|KEY))|(https?|no|all)_proxy)$/i;
const ofRunningServer = new Set(['SKERRY_SUPERVISED', 'SKERRY_KEEPER_FD']);

/** The service's variables, for `EnvironmentFile=`. Empty ones are left out, as settings ignore them. */
export function renderEnvironment(env: Readonly<Record<string, string | undefined>>): string {
  const lines = Object.entries(env).flatMap(([name, value]) => {
    if (!value || !inherited.test(name) || ofRunningServer.has(name)) return [];
    // biome-ignore lint/suspicious/noControlCharactersInRegex: such a value would become another one
    if (/[\u0000-\u001f\u007f]/.test(value)) throw new CliError(`${name} has control characters: unset it.`);
    const path = /_(DIR|FILE|PATH)$/.test(name) && name.startsWith('SKERRY_') ? resolve(value) : value;
    return [`${name}="${path.replace(/[\\"`$]/g, '\\$&')}"\n`];
  });
  return lines.sort().join('');
}

/** Flags as they mean the same from any directory. */
export const absoluteFlags = (flags: readonly string[]): string[] =>
  flags.map((word, index) =>
    word !== '' && /^--([a-z-]+-(dir|file|path)|config)$/.test(flags[index - 1] ?? '') ? resolve(word) : word,
  );

export interface UnitOptions {
  readonly dataDir: string;
  readonly node: string;
  /** The `skerry` command's own file. */
  readonly command: string;
  /** Of the server, `--data-dir` not among them. */
  readonly flags: readonly string[];
}

/** The unit file. Sandboxes are in another unit's cgroup: whatever happens to this one leaves them alone. */
export function renderUnit({ dataDir, node, command, flags }: UnitOptions): string {
  const argv = [node, command, 'up', '--foreground', '--data-dir', dataDir, ...flags];
  const path = (text: string) => text.replaceAll('%', '%%');
  const log = path(logFile(dataDir));
  return `# Made by "skerry install", which writes it anew each time; "skerry uninstall" removes it.
[Unit]
Description=Skerry, sandboxes for untrusted code
Wants=network-online.target
After=network-online.target
RequiresMountsFor=${quoteWord(dataDir).replaceAll('$$', '$')}
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=all
EnvironmentFile=-${path(environmentFile(dataDir))}
ExecStart=${argv.map(quoteWord).join(' ')}
Restart=always
RestartSec=2
TimeoutStartSec=${START_TIMEOUT_S}
TimeoutStopSec=90
KillMode=mixed
TasksMax=infinity
LimitNOFILE=1048576
OOMPolicy=continue
StandardOutput=append:${log}
StandardError=append:${log}

[Install]
WantedBy=multi-user.target
`;
}

export const unitOf = (dataDir: string): string => serviceUnit(instanceName(dataDir));
export const unitFile = (dataDir: string): string => join(UNIT_DIR, unitOf(dataDir));
/** Readable by root alone: it may hold the key of the secrets. */
export const environmentFile = (dataDir: string): string => join(dataDir, 'service.env');

/** Whether `skerry install` was run for this data directory. */
export const isInstalled = (dataDir: string): boolean => existsSync(unitFile(dataDir));

/** Writes a file of ours. @returns whether that changed it */
export function writeIfChanged(path: string, text: string, mode: number): boolean {
  if (existsSync(path) && readFileSync(path, 'utf8') === text) return false;
  rmSync(path, { force: true }); // so that the mode counts
  writeFileSync(path, text, { mode });
  return true;
}

/** The file that starts the command. */
export const commandFile = (): string => fileURLToPath(new URL('../bin/skerry.mjs', import.meta.url));

/** @throws CliError with systemd's words */
export async function systemctl(...args: string[]): Promise<void> {
  try {
    await run(['systemctl', ...args], { timeoutMs: SYSTEMCTL_TIMEOUT_MS });
  } catch (error) {
    if (!(error instanceof SkerryError)) throw error;
    throw new CliError(`systemctl ${args.join(' ')} failed: ${error.message}`);
  }
}

/** Whether systemd runs the service now, or is starting it. */
export async function isActive(dataDir: string): Promise<boolean> {
  if (!hasSystemd() || !isInstalled(dataDir)) return false;
  const { stdout } = await run(['systemctl', 'show', '--property=ActiveState', '--value', unitOf(dataDir)]);
  return ['active', 'activating', 'reloading'].includes(stdout.trim());
}

/** Tells systemd that the service is ready, when it is what started this process. */
export async function notifyReady(): Promise<void> {
  const { NOTIFY_SOCKET } = process.env;
  if (NOTIFY_SOCKET === undefined) return;
  await run(['systemd-notify', '--ready'], { env: { PATH: process.env.PATH ?? '', NOTIFY_SOCKET } });
}
