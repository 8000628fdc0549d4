/** Where the built agent is: `npm run setup` puts it there, the engine mounts it into sandboxes. */
import { fileURLToPath } from 'node:url';

export const agentBinaryPath = (): string =>
  process.env.SKERRY_AGENT_BINARY ||
  fileURLToPath(new URL('../../../agent/target/release/skerry-agent', import.meta.url));
