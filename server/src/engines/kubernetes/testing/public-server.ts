/** Servers at public addresses, as Pods of the test's cluster see them: on the bridge that their node is behind. */
import { getServers } from 'node:dns';
import { once } from 'node:events';
import { createServer as createHttpServer, type RequestListener } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { createServer, type Server } from 'node:net';
import { run } from '../../../platform/command.ts';
import { makeAuthority, makeServerCertificate } from '../../../transport/issue-certificate.ts';
import { serveNames } from './name-server.ts';

export interface PublicServer extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
}

export interface PublicHosts extends AsyncDisposable {
  /** Knows the names. */
  readonly nameserver: string;
  /** Of each name. */
  readonly addresses: Readonly<Record<string, string>>;
  /** PEM, of who issued their certificates. */
  readonly authority: string;
}

/** RFC 5737: stand for any of the internet. */
const ADDRESS = '198.51.100.250';
const NAMESERVER = '198.51.100.249';
const FIRST_HOST = 240;
const DAY_MS = 86_400_000;

/**
 * Hosts that say by HTTPS and HTTP by which name they were reached, and with which authorization. Whom this machine asks knows all other names.
 * @param machine as for `servePublicly`
 */
export async function serveHosts(machine: string, names: readonly string[]): Promise<PublicHosts> {
  const device = await deviceOf(machine);
  const addresses = Object.fromEntries(names.map((name, n) => [name, `198.51.100.${FIRST_HOST + n}`]));
  const all = [NAMESERVER, ...Object.values(addresses)];
  for (const address of all) await run(['ip', 'address', 'add', `${address}/32`, 'dev', device]);
  const validity = { notBefore: new Date(Date.now() - DAY_MS), notAfter: new Date(Date.now() + DAY_MS) };
  const authority = await makeAuthority('Hosts of a test', validity, undefined);
  const { cert, key } = await makeServerCertificate(authority, names, validity, undefined);
  const answer: RequestListener = ({ headers: { host, authorization = '' } }, response) =>
    void response.end(`${host} ${authorization}`.trim());
  const servers: Server[] = Object.values(addresses).flatMap((address) => [
    createHttpsServer({ cert, key }, answer).listen(443, address),
    createHttpServer(answer).listen(80, address),
  ]);
  for (const server of servers) if (!server.listening) await once(server, 'listening');
  const nameserver = await serveNames(NAMESERVER, addresses, getServers()[0]);
  return {
    nameserver: NAMESERVER,
    addresses,
    authority: authority.cert,
    [Symbol.asyncDispose]: async () => {
      nameserver.close();
      for (const server of servers) server.close();
      for (const address of all) await run(['ip', 'address', 'del', `${address}/32`, 'dev', device]);
    },
  };
}

/** @param machine the address of this machine on that bridge */
export async function servePublicly(machine: string): Promise<PublicServer> {
  const device = await deviceOf(machine);
  await run(['ip', 'address', 'add', `${ADDRESS}/32`, 'dev', device]);
  const server = createServer((socket) => {
    socket.on('error', () => {}); // who only looks whether it is there breaks the connection
    socket.end('here\n');
  }).listen(0, ADDRESS);
  await once(server, 'listening');
  const listening = server.address();
  return {
    address: ADDRESS,
    port: typeof listening === 'object' ? (listening?.port ?? 0) : 0,
    [Symbol.asyncDispose]: async () => {
      server.close();
      await run(['ip', 'address', 'del', `${ADDRESS}/32`, 'dev', device]);
    },
  };
}

async function deviceOf(machine: string): Promise<string> {
  const { stdout } = await run(['ip', '-o', '-4', 'address', 'show', 'to', machine]);
  const [, device] = stdout.trim().split(/\s+/);
  if (device === undefined) throw new Error(`no device of this machine has ${machine}`);
  return device;
}
