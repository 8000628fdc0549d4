/** What people write of the sandboxes they want, on a command line and in the address of `/mcp`. */
import type { CreateOptions } from '../../../../sdk/src/index.ts';
import { SkerryError } from '../../errors/skerry-error.ts';

const invalid = (message: string) => new SkerryError('invalid-argument', message);

/** `open`, `none`, or the only domains that may be reached, with commas between them. */
export function networkOf(text: string): CreateOptions['network'] {
  if (text === 'open') return 'open';
  if (text === 'none') return 'blocked';
  return { domains: text.split(',') };
}

/** `name:/path` or `name:/path:ro`: where, and what. @throws SkerryError `invalid-argument` */
export function volumeOf(text: string): [string, { name: string; readOnly: boolean }] {
  const [, name, path, mode] = /^([^:]+):(\/[^:]*)(?::(ro|rw))?$/.exec(text) ?? [];
  if (name !== undefined && path !== undefined) return [path, { name, readOnly: mode === 'ro' }];
  throw invalid(`volume ${text}: it must be name:/path or name:/path:ro.`);
}

/** Whole seconds of a text such as 90, 90s, 10m or 2h. @throws SkerryError `invalid-argument` */
export function secondsOf(text: string): number {
  const [, digits, unit = 's'] = /^(\d{1,9})([smh])?$/.exec(text) ?? [];
  const factor = { s: 1, m: 60, h: 3600 }[unit as 's' | 'm' | 'h'];
  if (digits !== undefined && Number(digits) > 0) return Number(digits) * factor;
  throw invalid(`${text}: it must be a time such as 90, 90s, 10m or 2h.`);
}

/** An image with that Python. */
export const pythonImage = (version: string): string => `python:${version}-slim`;

/** What the address of `/mcp` says of the sandboxes of its sessions, in the words of `skerry mcp`. @throws SkerryError `invalid-argument` */
export function settingsOf(query: URLSearchParams): CreateOptions {
  const known = ['image', 'python', 'net', 'volume', 'secret', 'memory', 'cpu', 'timeout', 'isolation'];
  for (const name of query.keys()) {
    if (!known.includes(name)) throw invalid(`${name}: the address may have ${known.join(', ')}.`);
  }
  const text = (name: string) => query.get(name) ?? undefined;
  const number = (name: string) => {
    const given = text(name);
    if (given === undefined) return undefined;
    const value = Number(given);
    if (Number.isFinite(value) && value > 0) return value;
    throw invalid(`${name} must be a number above 0.`);
  };
  const isolation = text('isolation');
  if (isolation !== undefined && isolation !== 'gvisor' && isolation !== 'runc')
    throw invalid('isolation must be gvisor or runc.');
  const python = text('python');
  if (python !== undefined && text('image') !== undefined) throw invalid('Give image or python, not both.');
  const timeout = text('timeout');
  return {
    image: python === undefined ? text('image') : pythonImage(python),
    network: networkOf(text('net') ?? 'open'),
    volumes: Object.fromEntries(query.getAll('volume').map(volumeOf)),
    secrets: query.getAll('secret'),
    memoryMiB: number('memory'),
    cpu: number('cpu'),
    timeoutSeconds: timeout === undefined ? DEFAULT_TIMEOUT_SECONDS : secondsOf(timeout),
    isolation,
  };
}

export const DEFAULT_TIMEOUT_SECONDS = 3600;
