/** The image of the first program that Skerry was made for, defined by the Python client and built on an empty data directory, step by step. */
import { z } from 'zod';
import { runPython } from '../e2e/support/clients.ts';
import { announce, conceal, runSkerry } from '../e2e/support/command.ts';
import { startServer } from '../e2e/support/server.ts';

const PROGRAM = `
import modal
image = modal.Image.debian_slim(python_version="3.11").apt_install("nodejs", "ruby", "php")
print(image.build(modal.App.lookup("bench", create_if_missing=True)).object_id)
`;
const BUILD_TIMEOUT_MS = 600_000;

const line = z.object({ image: z.string(), step: z.number(), timeMs: z.number(), text: z.string() });

/** Lines of a Markdown table: each step with the seconds that it took. @throws Error for a build that failed */
export async function seedImageSteps(): Promise<string[]> {
  const server = await startServer({ runtime: 'runc', freshData: true });
  try {
    announce(server);
    const { code, stdout, stderr } = await runPython(server, PROGRAM, { timeoutMs: BUILD_TIMEOUT_MS });
    if (code !== 0) throw new Error(`the image was not built: ${stderr}`);
    const log = await runSkerry(server, 'image', 'logs', stdout.trim(), '--json');
    return stepsOf(log.split('\n').map((text) => line.parse(JSON.parse(text))));
  } finally {
    conceal(server);
    await server.stop();
  }
}

/** A step is over when the next one of its build begins, or the build is. */
function stepsOf(lines: readonly z.infer<typeof line>[]): string[] {
  const rows: string[] = [];
  let total = 0;
  for (const [at, { image, step, timeMs, text }] of lines.entries()) {
    const heading = /^Step \d+\/\d+ : (.*)/.exec(text)?.[1];
    if (heading === undefined) continue;
    const rest = lines.slice(at + 1).filter((each) => each.image === image);
    const next = rest.find((each) => each.step !== step) ?? rest.at(-1);
    const took = (next?.timeMs ?? timeMs) - timeMs;
    total += took;
    rows.push(`| \`${heading.replaceAll('|', '\\|')}\` | ${(took / 1000).toFixed(1)} |`);
  }
  return ['| step | seconds |', '| --- | ---: |', ...rows, `| all | ${(total / 1000).toFixed(1)} |`];
}
