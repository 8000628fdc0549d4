/** LLM tool call: a `run_code` tool backed by a sandbox. The model is played by a list of the calls it would make. */
import { ModboxClient } from 'modbox-sdk';

const modbox = new ModboxClient({ token: process.env.MODBOX_API_TOKEN });

/** What goes to the model with the conversation. */
const tools = [
  {
    type: 'function',
    function: {
      name: 'run_code',
      description: 'Execute Python code and return stdout/stderr',
      parameters: {
        type: 'object',
        properties: {
          code: { type: 'string', description: 'Python code to execute' },
        },
        required: ['code'],
      },
    },
  },
];

interface ToolCall {
  function: { name: string; arguments: string };
}

// When the LLM calls run_code:
async function handleToolCall(toolCall: ToolCall, sandboxUrl: string): Promise<string> {
  if (toolCall.function.name !== 'run_code') return `There is no tool ${toolCall.function.name}.`;
  const { code } = JSON.parse(toolCall.function.arguments) as { code: string };

  const result = await fetch(`${sandboxUrl}/modbox/api/exec`, {
    method: 'POST',
    headers: {
      'Content-Type': 'application/json',
      Authorization: `Bearer ${process.env.SANDBOX_API_KEY}`,
    },
    // Breaks for some code: see README.md.
    body: JSON.stringify({ command: `python3 -c "${code.replace(/"/g, '\\"')}"` }),
  });

  const { stdout, stderr, exitCode } = (await result.json()) as {
    stdout: string;
    stderr: string;
    exitCode: number;
  };
  return `stdout:\n${stdout}\nstderr:\n${stderr}\nexitCode: ${exitCode}`;
}

const callsOfTheModel: ToolCall[] = ['print(sum(n * n for n in range(10)))', 'raise SystemExit(3)'].map(
  (code) => ({ function: { name: tools[0]?.function.name ?? '', arguments: JSON.stringify({ code }) } }),
);

const taskId = `llm-${crypto.randomUUID()}`;
await modbox.provisionSandbox({ taskId, imageId: process.env.CODE_EXEC_IMAGE_ID, ttlSeconds: 300 });
try {
  const { sandboxUrl } = await modbox.waitForSandbox({ taskId, timeout: 30 });
  for (const call of callsOfTheModel) console.log(await handleToolCall(call, sandboxUrl));
} finally {
  await modbox.destroySandbox({ taskId });
}
