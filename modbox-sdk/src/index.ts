/** `modbox-sdk`: provision sandboxes under your own task ids, and run code in them. */
export {
  type Fetch,
  ModboxClient,
  type ModboxClientOptions,
  type ProvisionOptions,
  type WaitOptions,
} from './client.ts';
export * from './errors.ts';
export type * from './gen/types.ts';
export { type ExecEvent, type Options, SandboxConnection } from './sandbox-connection.ts';
