/** `skerry connect` as a library. */
export { ConnectError } from './connect-error.ts';
export { type Credentials, clientEnvironment, formatEnvironment } from './environment.ts';
export { parseFingerprint, parseServer, type Target } from './server-link.ts';
export { type Greeting, greet, type Token } from './token.ts';
export { openTunnel, type Tunnel, type TunnelOptions } from './tunnel.ts';
