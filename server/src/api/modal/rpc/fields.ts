/** Checks of single fields as they come off the wire; each refusal names its field. Whatever passes is trusted from then on. */

import { checkObjectName, checkTags } from '../../../apps/names.ts';
import { SkerryError } from '../../../errors/skerry-error.ts';
import type { ProcessId, SandboxId, SecretId } from '../../../ids.ts';
import { ENTRYPOINT_PROCESS_ID } from '../../../ids.ts';
import { domainPattern } from '../../../platform/domain-patterns.ts';
import { checkInbound } from '../../../sandboxes/inbound.ts';
import type { NetworkPolicy, PtySize, SecretHeaderSpec } from '../../../sandboxes/spec.ts';
import { checkEnvironmentVariables } from '../../../secrets/environment-variables.ts';
import type { SecretSource } from '../../../secrets/secrets.ts';
import {
  NetworkAccess_NetworkAccessType as AccessType,
  type ExperimentalOutboundPolicy,
  type NetworkAccess,
  type PTYInfo,
} from '../gen/modal/common_pb.ts';
import type { SecretSource as WireSecretSource } from '../gen/modal/secrets_pb.ts';

/** Bytes of all arguments of a program together, and of all variables of one environment. */
const MAX_STRINGS_BYTES = 1 << 20;
const MAX_STRINGS = 65_536;
export const MAX_PATH_BYTES = 4096;
const MAX_CIDRS = 256;
const MAX_SECRETS = 256;
/** Seven days: the longest a sandbox or a process of one may be asked to live, seconds. */
export const MAX_LIFETIME_S = 7 * 86_400;

export const invalid = (message: string): SkerryError => new SkerryError('invalid-argument', message);
export const unsupported = (what: string): SkerryError =>
  new SkerryError('unimplemented', `Skerry does not support ${what}`);

/** @throws SkerryError `invalid-argument` for a NUL byte, which no program or path can hold */
export function text(value: string, field: string, maxBytes: number): string {
  if (value.includes('\0')) throw invalid(`${field} must not contain a NUL byte.`);
  if (Buffer.byteLength(value) > maxBytes) throw invalid(`${field} is longer than ${maxBytes} bytes.`);
  return value;
}

export function argv(args: readonly string[], field: string): readonly string[] {
  if (args.length > MAX_STRINGS) throw invalid(`${field} has more than ${MAX_STRINGS} items.`);
  let bytes = 0;
  for (const argument of args) bytes += Buffer.byteLength(text(argument, field, MAX_STRINGS_BYTES)) + 1;
  if (bytes > MAX_STRINGS_BYTES)
    throw invalid(`${field} is longer than ${MAX_STRINGS_BYTES} bytes in total.`);
  return args;
}

export function environment(env: Readonly<Record<string, string>>, field: string): Record<string, string> {
  checkEnvironmentVariables(env, field);
  return { ...env };
}

/** The directory of an exec: absolute, or below the sandbox's. `undefined` and `""` mean "not given". */
export function execWorkdir(path: string | undefined): string | undefined {
  return path ? text(path, 'workdir', MAX_PATH_BYTES) : undefined;
}

/** `undefined` and `""` mean "not given". */
export function workdir(path: string | undefined): string | undefined {
  if (!path) return undefined;
  if (!path.startsWith('/'))
    throw invalid(`workdir must be an absolute path, not ${JSON.stringify(path.slice(0, 64))}.`);
  return text(path, 'workdir', MAX_PATH_BYTES);
}

/** A place in a sandbox, as bytes on the wire. Names that are not UTF-8 cannot be asked for. */
export function guestPath(bytes: Uint8Array): string {
  let path: string;
  try {
    path = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw invalid('path is not UTF-8.');
  }
  if (!path.startsWith('/') || path.includes('\0') || bytes.length > MAX_PATH_BYTES) {
    throw invalid(`path must be absolute, without NUL, of at most ${MAX_PATH_BYTES} bytes.`);
  }
  return path;
}

/** What clients send for a snapshot that is to stay. */
const FOR_EVER = -1n;
/** A thousand years. */
const MAX_TTL_S = 1000n * 366n * 86_400n;

export function integer(value: number, field: string, min: number, max: number): number {
  if (value < min || value > max) throw invalid(`${field} must be from ${min} to ${max}, not ${value}.`);
  return value;
}

/** How long a snapshot lives, in milliseconds; undefined for ever, which is also what a caller who says nothing gets. */
export function timeToLive(seconds: bigint | undefined): number | undefined {
  if (seconds === undefined || seconds === FOR_EVER) return undefined;
  if (seconds < 1n || seconds > MAX_TTL_S) {
    throw invalid(`ttl_seconds must be from 1 to ${MAX_TTL_S}, or ${FOR_EVER} for no end, not ${seconds}.`);
  }
  return Number(seconds) * 1000;
}

/** A byte offset: uint64 on the wire, at most 2^53 - 1 here. */
export function byteOffset(value: bigint, field = 'offset'): number {
  if (value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER)) throw invalid(`${field} is out of range.`);
  return Number(value);
}

/** The id a client gives a process. It becomes part of file names and must not be the entrypoint's. */
export function execId(value: string): ProcessId {
  if (!/^[A-Za-z0-9._-]{1,64}$/.test(value) || /^\.{1,2}$/.test(value) || value === ENTRYPOINT_PROCESS_ID) {
    throw invalid('exec_id must be 1 to 64 letters, digits, dots, dashes or underscores.');
  }
  return value as ProcessId; // just checked
}

/**
 * An id of the form that both families of sandbox ids have (`ids.ts`), whether it exists or not: the domain finds no other, and clients tell an id that
 * cannot be one from a sandbox that is gone.
 */
export function parseSandboxId(value: string): SandboxId {
  if (!/^sb-[A-Za-z0-9]{22,64}$/.test(value)) {
    throw invalid(`Invalid sandbox ID: ${JSON.stringify(value.slice(0, 64))}.`);
  }
  return value as SandboxId; // has the shape
}

/** The clients' rule for names of every kind (docs/protocol/control-plane.md, "Names"). */
export function objectName(name: string, field: string): string {
  checkObjectName(field, name);
  return name;
}

export function tags(
  list: readonly { readonly tagName: string; readonly tagValue: string }[],
): Record<string, string> {
  const result = new Map<string, string>();
  for (const { tagName, tagValue } of list) {
    if (result.has(tagName)) throw invalid(`The tag ${JSON.stringify(tagName.slice(0, 64))} is given twice.`);
    result.set(tagName, tagValue);
  }
  const record = Object.fromEntries(result);
  checkTags(record);
  return record;
}

/** Present but not enabled is no terminal; a size of 0x0 (a client without one) is the classic 24x80. */
export function pty(info: PTYInfo | undefined): PtySize | undefined {
  if (!info?.enabled) return undefined;
  return {
    rows: integer(info.winszRows, 'pty_info.winsz_rows', 0, 65_535) || 24,
    cols: integer(info.winszCols, 'pty_info.winsz_cols', 0, 65_535) || 80,
  };
}

/** What a terminal tells its programs; weaker than any variable the caller sets. */
export function ptyEnvironment(info: PTYInfo | undefined): readonly SecretSource[] {
  if (!info?.enabled) return [];
  const env: Record<string, string> = { TERM: info.envTerm || 'xterm-256color' };
  if (info.envColorterm) env.COLORTERM = info.envColorterm;
  if (info.envTermProgram) env.TERM_PROGRAM = info.envTermProgram;
  return [{ kind: 'inline', env: environment(env, 'pty_info') }];
}

/** Sources in order; ids that stand in `ids` only (older clients) come first, and `inline` (older clients) last. */
export function secretSources(
  ids: readonly string[],
  sources: readonly WireSecretSource[],
  inline: readonly Readonly<Record<string, string>>[],
): readonly SecretSource[] {
  if (ids.length + sources.length > MAX_SECRETS) throw invalid(`More than ${MAX_SECRETS} secrets.`);
  const named = new Set(sources.map(({ source }) => (source.case === 'secretId' ? source.value : undefined)));
  const result: SecretSource[] = ids
    .filter((id) => !named.has(id))
    .map((id) => ({ kind: 'stored', id: secretId(id) }));
  for (const { source } of sources) {
    if (source.case === 'secretId') result.push({ kind: 'stored', id: secretId(source.value) });
    else if (source.case === 'env')
      result.push({ kind: 'inline', env: environment(source.value.contents, 'env') });
    else throw invalid('A secret source is neither an id nor an environment.');
  }
  for (const env of inline) {
    if (Object.keys(env).length > 0) result.push({ kind: 'inline', env: environment(env, 'env') });
  }
  return result;
}

export function secretId(value: string): SecretId {
  if (!/^st-[A-Za-z0-9]{1,64}$/.test(value))
    throw invalid(`${JSON.stringify(value.slice(0, 64))} is no secret id.`);
  return value as SecretId; // has the shape; whether it exists is the domain's to say
}

/** An allow-list of everything, which is how JavaScript and Go ask for an open network, is an open network. */
export function networkPolicy(access: NetworkAccess | undefined, blockNetwork = false): NetworkPolicy {
  const type = access?.networkAccessType ?? AccessType.UNSPECIFIED;
  if (type !== AccessType.ALLOWLIST && (access?.allowedCidrs.length || access?.allowedDomains.length)) {
    throw invalid('network_access: allow-lists need the type ALLOWLIST.');
  }
  switch (type) {
    case AccessType.UNSPECIFIED:
      return { kind: blockNetwork ? 'blocked' : 'open' };
    case AccessType.OPEN:
      if (blockNetwork) throw invalid('block_network and an open network_access exclude each other.');
      return { kind: 'open' };
    case AccessType.BLOCKED:
      return { kind: 'blocked' };
    case AccessType.ALLOWLIST:
      return allowlist(access?.allowedCidrs ?? [], access?.allowedDomains ?? []);
    default:
      throw invalid(`network_access_type ${type} is unknown.`);
  }
}

/** Its parts are checked by the domain (`sandboxes/secret-headers.ts`). */
export function secretHeaders(policy: ExperimentalOutboundPolicy): readonly SecretHeaderSpec[] {
  if (policy.headerReplacements.length > MAX_SECRETS)
    throw invalid(`header_replacements has more than ${MAX_SECRETS} items.`);
  return policy.headerReplacements.map(({ domain, secretId: id, headers }) => ({
    domain,
    headers,
    ...(id !== '' && { secret: { kind: 'stored', id: secretId(id) } as const }),
  }));
}

function allowlist(allowedCidrs: readonly string[], allowedDomains: readonly string[]): NetworkPolicy {
  if (allowedDomains.length > MAX_CIDRS) throw invalid(`allowed_domains has more than ${MAX_CIDRS} items.`);
  if (allowedCidrs.length > MAX_CIDRS) throw invalid(`allowed_cidrs has more than ${MAX_CIDRS} items.`);
  // Sandboxes have no IPv6 network, so "all of IPv6" grants nothing and a narrower range would promise something.
  const cidrs = allowedCidrs.filter((cidr) => cidr !== '::/0').map(ipv4Cidr);
  const everything = cidrs.some((cidr) => cidr.endsWith('/0'));
  const domains = [...new Set(allowedDomains.map(domain))];
  if (everything) return { kind: 'open' };
  return { kind: 'allowlist', cidrs, ...(domains.length > 0 && { domains }) };
}

function domain(text: string): string {
  const pattern = domainPattern(text);
  if (pattern === undefined) throw invalid(`Invalid domain: ${text.slice(0, 64)}`);
  return pattern;
}

/** Where callers of a sandbox's ports may come from. */
export function inboundCidrs(cidrs: readonly string[]): readonly string[] {
  checkInbound(cidrs);
  return cidrs;
}

function ipv4Cidr(cidr: string): string {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\/(\d{1,2})$/.exec(cidr);
  const numbers = match?.slice(1).map(Number) ?? [];
  const prefix = numbers[4] ?? 33;
  if (numbers.slice(0, 4).some((byte) => byte > 255) || prefix > 32) {
    // These words are what programs look for.
    throw invalid(`Invalid CIDR: ${cidr.slice(0, 64)}`);
  }
  return cidr;
}
