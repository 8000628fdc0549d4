/** What a program does with the SDK wherever it runs, in the language that Node 20, Bun and browsers have in common. */
import { NotFoundError, Sandbox } from 'skerry';

/** @param connection where the server is, and the token; by default what the environment says */
export async function useSdk(connection = {}) {
  const sandbox = await Sandbox.create({ ...connection, image: 'python:3.11-slim' });
  try {
    const loop = 'while read -r line; do echo "<$line>"; done; exit 3';
    const program = sandbox.exec(['sh', '-c', loop], { stdin: 'open' });
    await program.stdin.write('ü\n');
    await program.stdin.end('b\n');
    const lines = [];
    for await (const line of program.stdout.lines()) lines.push(line);
    const { exitCode } = await program;
    await sandbox.files.write('/made/file', new Blob(['text']));
    const file = await sandbox.files.readText('/made/file');
    const code = await sandbox.runCode('python', '6 * 7');
    const nameOf = (error) => error.name;
    const signal = AbortSignal.timeout(200);
    const aborted = await sandbox.exec(['sleep', '600'], { signal }).result().catch(nameOf);
    const missing = await sandbox.files.read('/none').catch((error) => error instanceof NotFoundError);
    return { lines, exitCode, file, text: code.text, aborted, missing };
  } finally {
    await sandbox.terminate();
  }
}
