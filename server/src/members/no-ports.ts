/** Ports of sandboxes are opened by the server that leads, for all: what asks about them is not answered by another. */
import { SkerryError } from '../errors/skerry-error.ts';
import type { HttpAccess } from '../tunnels/http-access.ts';
import type { Tunnels } from '../tunnels/tunnels.ts';

const RPCS = /^Sandbox(GetTunnels|CreateConnectToken)(V2)?$/;
const PATHS = /\/(tunnels|connect-tokens)$/;

/** Whether a call is about them. @param call name of the RPC, or method and path */
export const isAboutPorts = (call: string): boolean =>
  RPCS.test(call) || PATHS.test(call.split('?', 1)[0] ?? '');

const refuse = async (): Promise<never> => {
  throw new SkerryError('unavailable', 'The server that opens ports has just changed. Ask again.');
};

export const noPorts: { readonly tunnels: Tunnels; readonly httpAccess: HttpAccess } = {
  tunnels: { of: refuse },
  httpAccess: { credentials: refuse },
};
