/** The commands that work in sandboxes. */
import { cpCommand } from './cp.ts';
import { execCommand } from './exec.ts';
import { logsCommand } from './logs.ts';
import { mcpCommand } from './mcp.ts';
import { runCommand } from './run.ts';
import { shellCommand } from './shell.ts';
import { rmCommand, stopCommand } from './stop.ts';

export const sandboxCommands = [
  runCommand,
  execCommand,
  shellCommand,
  logsCommand,
  cpCommand,
  stopCommand,
  rmCommand,
  mcpCommand,
];
