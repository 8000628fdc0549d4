/** Where the programs built from `agent/`, `connections/`, `egress/`, `launcher/`, `pod-link/`, `resolver/`, `supervisor/` and `trees/` are: `npm run setup` puts them there. */
import { fileURLToPath } from 'node:url';

const built = (name: string): string =>
  fileURLToPath(new URL(`../../../target/release/${name}`, import.meta.url));

/** What an engine of this machine runs. */
export const enginePrograms = () => ({
  agentBinaryPath: agentBinaryPath(),
  connectionsBinaryPath: connectionsBinaryPath(),
  egressBinaryPath: egressBinaryPath(),
  resolverBinaryPath: resolverBinaryPath(),
  treesBinaryPath: treesBinaryPath(),
});

/** The agent, which the engine mounts into sandboxes. */
export const agentBinaryPath = (): string => process.env.SKERRY_AGENT_BINARY || built('skerry-agent');

/** The program that starts commands for the server. */
export const launcherBinaryPath = (): string =>
  process.env.SKERRY_LAUNCHER_BINARY || built('skerry-launcher');

/** The program that has the kernel forget connections. */
export const connectionsBinaryPath = (): string =>
  process.env.SKERRY_CONNECTIONS_BINARY || built('skerry-connections');

/** The program that lets sandboxes out by names. */
export const egressBinaryPath = (): string => process.env.SKERRY_EGRESS_BINARY || built('skerry-egress');

/** The program beside the agent in a Pod. */
export const podLinkBinaryPath = (): string => process.env.SKERRY_POD_LINK_BINARY || built('skerry-pod-link');

/** The program that resolves names for sandboxes. */
export const resolverBinaryPath = (): string =>
  process.env.SKERRY_RESOLVER_BINARY || built('skerry-resolver');

/** The program that copies and mounts trees of files. */
export const treesBinaryPath = (): string => process.env.SKERRY_TREES_BINARY || built('skerry-trees');

/** The program that holds the server's port and keeps the server running. */
export const supervisorBinaryPath = (): string =>
  process.env.SKERRY_SUPERVISOR_BINARY || built('skerry-supervisor');
