/** Single execution (stateless): provision a sandbox, run the code, destroy it. */
import { ModboxClient } from 'modbox-sdk';

const modbox = new ModboxClient({ token: process.env.MODBOX_API_TOKEN });

interface ExecResult {
  exitCode: number;
  stdout: string;
  stderr: string;
  durationMs: number;
}

async function executeCode(code: string, language: string): Promise<ExecResult> {
  const taskId = `exec-${crypto.randomUUID()}`;

  await modbox.provisionSandbox({
    taskId,
    imageId: process.env.CODE_EXEC_IMAGE_ID, // unset: the default image
    ttlSeconds: 60, // short TTL — destroy after 60s no matter what
  });

  await modbox.waitForSandbox({ taskId, timeout: 30 });
  const sandbox = await modbox.getSandbox(taskId);

  const response = await fetch(`${sandbox.sandboxUrl}/modbox/api/exec`, {
    method: 'POST',
    headers: {
      'Content-Type': 'application/json',
      Authorization: `Bearer ${process.env.SANDBOX_API_KEY}`,
    },
    // Breaks for some code: see README.md.
    body: JSON.stringify({ command: `${language} -c "${code.replace(/"/g, '\\"')}"` }),
  });

  const result = (await response.json()) as ExecResult;

  // Explicit cleanup (TTL will also handle it)
  await modbox.destroySandbox({ taskId });

  return result;
}

console.log(await executeCode('print("Hello, world!")', 'python3'));
// → { exitCode: 0, stdout: 'Hello, world!\n', stderr: '', durationMs: 42, … }
