import { once } from 'node:events';
import { Command } from 'commander';
import { loadSandboxTools } from '../../../server/src/operator.ts';
import packageJson from '../../package.json' with { type: 'json' };
import { addConnectionOptions, connectionOf, told } from '../sandboxes/connection.ts';
import { addCreateOptions, type CreateFlags, createOptions } from '../sandboxes/create-options.ts';

/** `skerry mcp`: sandboxes as tools of an agent, over standard input and output. */
export function mcpCommand(): Command {
  const command = new Command('mcp')
    .description('give an agent sandboxes as tools (Model Context Protocol, over standard input and output)')
    .addHelpText(
      'after',
      `
The sandboxes of a conversation are made with the options above, which are not the agent's to choose, and end with it.

Examples:
  skerry mcp --python 3.12 --net none --memory 1024
  claude mcp add skerry -- skerry mcp --python 3.12
  {"mcpServers": {"skerry": {"command": "skerry", "args": ["mcp", "--python", "3.12"]}}}`,
    );
  addCreateOptions(command);
  return addConnectionOptions(command).action((flags: CreateFlags) =>
    told(async () => {
      const create = { ...createOptions(flags), ...connectionOf(command) };
      const { StdioServerTransport } = await import('@modelcontextprotocol/sdk/server/stdio.js');
      const sandboxTools = await loadSandboxTools();
      await using tools = sandboxTools({ version: packageJson.version, create });
      const over = new AbortController();
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => over.abort());
      process.stdin.once('end', () => over.abort());
      await tools.server.connect(new StdioServerTransport());
      await once(over.signal, 'abort');
    }),
  );
}
