/** Attempts by what is written down of clients and sandboxes: logs, and files named after what a client says. */
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execId } from '../../../server/src/api/modal/rpc/fields.ts';
import type { ProcessId } from '../../../server/src/ids.ts';
import { OutputBudget } from '../../../server/src/sandboxes/output-budget.ts';
import { OutputLog } from '../../../server/src/sandboxes/output-log.ts';
import { createLogger, type Logger } from '../../../server/src/telemetry/logger.ts';
import { onControlPlane, type ServerAttack } from '../support/server-attack.ts';

const SECRET = 'a secret of the test';

/** What a logger writes. */
function written(checked: boolean, use: (logger: Pick<Logger, 'info'>) => void): string {
  let text = '';
  const write = (line: string) => {
    text += line;
  };
  const plain = {
    info: (fields: object, event: string) =>
      write(
        `${event} ${Object.entries(fields)
          .map(([key, value]) => `${key}=${value}`)
          .join(' ')}\n`,
      ),
  };
  use(checked ? createLogger('info', { write }) : plain);
  return text;
}

export const logAttacks: readonly ServerAttack[] = [
  onControlPlane(
    'write a line of its own into the log',
    /^one line/,
    'the log is JSON, which escapes what ends a line',
    async (checked) => {
      const text = written(checked, (logger) =>
        logger.info({ path: '/x\n{"level":"error","msg":"forged"}\u001b[2J' }, 'file.written'),
      );
      if (text.trimEnd().split('\n').length === 1 && !text.includes('\u001b'))
        throw new Error('one line came of it');
      return 'the line is there';
    },
  ),
  onControlPlane(
    'find a token in the log',
    /^\[redacted\]/,
    'the logger knows by their names the values that are secret',
    async (checked) => {
      const text = written(checked, (logger) => logger.info({ tokenSecret: SECRET }, 'token.created'));
      if (!text.includes(SECRET)) throw new Error(/\[redacted\]/.exec(text)?.[0] ?? text);
      return text;
    },
  ),
  onControlPlane(
    'write beside the files of a sandbox by the id of a process',
    /^exec_id must be/,
    'ids are checked before they become names of files',
    async (checked) => {
      const root = await mkdtemp(join(tmpdir(), 'skerry-id-attack-'));
      try {
        const outputs = join(root, 'outputs');
        await mkdir(outputs);
        const claimed = '../beside';
        // Without the check it is as good as any.
        const id = checked ? execId(claimed) : (claimed as ProcessId);
        const budget = new OutputBudget(1 << 20, new AbortController().signal, () => {});
        const log = new OutputLog(join(outputs, `${id}.out`), budget);
        await log.append(0, Buffer.alloc(100_000));
        log.end();
        if (!existsSync(join(root, 'beside.out'))) throw new Error('no file is there');
        return 'the file is there';
      } finally {
        await rm(root, { recursive: true, force: true });
      }
    },
  ),
];
