/** Session-based execution (stateful): one sandbox per user, kept while the user is active. */
import { ModboxClient } from 'modbox-sdk';

const modbox = new ModboxClient({ token: process.env.MODBOX_API_TOKEN });

// Session manager — one sandbox per user
const sessions = new Map<string, string>(); // userId → sandboxUrl

async function getOrCreateSession(userId: string): Promise<string> {
  const known = sessions.get(userId);
  if (known) return known;

  const taskId = `session-${userId}`;

  await modbox.provisionSandbox({
    taskId,
    imageId: process.env.CODE_EXEC_IMAGE_ID,
    ttlSeconds: 3600, // 1 hour idle timeout
    ttlMode: 'idle', // without it: 1 hour from now, no matter what
    envVars: { USER_ID: userId },
  });

  await modbox.waitForSandbox({ taskId, timeout: 30 });
  const sandbox = await modbox.getSandbox(taskId);

  sessions.set(userId, sandbox.sandboxUrl);
  return sandbox.sandboxUrl;
}

async function runInSession(userId: string, code: string): Promise<{ stdout: string; stderr: string }> {
  const sandboxUrl = await getOrCreateSession(userId);

  // State persists — installed packages and files remain. Variables do not: each call is a new Python.
  const result = await fetch(`${sandboxUrl}/modbox/api/exec`, {
    method: 'POST',
    headers: {
      'Content-Type': 'application/json',
      Authorization: `Bearer ${process.env.SANDBOX_API_KEY}`,
    },
    // Breaks for some code: see README.md.
    body: JSON.stringify({ command: `python3 -c "${code.replace(/"/g, '\\"')}"` }),
  });

  return (await result.json()) as { stdout: string; stderr: string };
}

const run = crypto.randomUUID();
const [ada, bob] = [`ada-${run}`, `bob-${run}`];
try {
  await runInSession(ada, 'open("/tmp/notes", "w").write("remember me")');
  console.log('ada:', (await runInSession(ada, 'print(open("/tmp/notes").read())')).stdout.trim());
  console.log('ada is', (await runInSession(ada, 'import os; print(os.environ["USER_ID"])')).stdout.trim());
  console.log(
    'bob:',
    (await runInSession(bob, 'print(open("/tmp/notes").read())')).stderr.trim().split('\n').at(-1),
  );
} finally {
  for (const userId of sessions.keys()) await modbox.destroySandbox({ taskId: `session-${userId}` });
}
