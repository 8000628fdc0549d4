/** Where the command string of the other programs breaks, beside the two forms that do not. */
import { ModboxClient } from 'modbox-sdk';

const modbox = new ModboxClient({ token: process.env.MODBOX_API_TOKEN });

const programs: Record<string, string> = {
  'double quotes': 'print("Hello, world!")',
  'a quote in a quote': 'print("she said \\"hi\\"")',
  'a dollar sign': 'print("costs $HOME")',
  backticks: 'print("`date`")',
  'two backslashes': 'print("C:\\\\temp")',
  'a newline': 'print(1)\nprint(2)',
};

const taskId = `quoting-${crypto.randomUUID()}`;
await modbox.provisionSandbox({ taskId, imageId: process.env.CODE_EXEC_IMAGE_ID, ttlSeconds: 300 });
try {
  const sandbox = modbox.connect(await modbox.waitForSandbox({ taskId, timeout: 30 }));
  for (const [name, code] of Object.entries(programs)) {
    const quoted = await sandbox.exec({ command: `python3 -c "${code.replace(/"/g, '\\"')}"` });
    const asArgument = await sandbox.exec({ argv: ['python3', '-c', code] });
    const asInput = await sandbox.exec({ argv: ['python3', '-'], stdin: code });
    const same = quoted.exitCode === 0 && quoted.stdout === asArgument.stdout;
    console.log(
      `${name}: quoted ${same ? 'works' : 'BREAKS'}, argv and stdin give ${JSON.stringify(asArgument.stdout)}` +
        (asInput.stdout === asArgument.stdout ? '' : ' and differ'),
    );
  }
} finally {
  await modbox.destroySandbox({ taskId });
}
