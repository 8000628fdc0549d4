/**
 * Files of a sandbox that nobody sees into from outside, as a layer: the agent's program `files` says what there is and gives what is asked for, `skerry-trees take`
 * compares and writes. What passes between them here is in `agent/PROTOCOL.md`, "Files".
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import type { TakeFiles } from '../engines/kubernetes/pod-agent.ts';
import { treeError } from '../engines/oci/trees.ts';
import { GUEST_AGENT } from '../engines/paths.ts';
import { SkerryError } from '../errors/skerry-error.ts';
import { newProcessId } from '../ids.ts';
import { baseEnvironment } from '../platform/command.ts';
import type { AgentClient } from './agent-client.ts';
import type { ProcessChannel, ProcessSink } from './process-channel.ts';
import { forgetProgram } from './run-to-exit.ts';

/** As long as any copy may take. */
const TIMEOUT_MS = 30 * 60_000;

/** @throws as `PodAgent.takeFiles` */
export async function takeFiles(
  agent: AgentClient,
  { path, layers, target }: TakeFiles,
  treesBinaryPath: string,
  signal: AbortSignal,
): Promise<void> {
  const since = await agent.begun(signal);
  const argv = ['take', target, String(since), ...layers];
  const writer = spawn(treesBinaryPath, argv, { env: baseEnvironment(), stdio: 'pipe' });
  writer.stdin.on('error', () => {}); // its status tells
  const words = text(writer.stderr);
  const ended = once(writer, 'close');
  ended.catch(() => {}); // awaited below
  const either = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]);
  const kill = () => writer.kill('SIGKILL');
  either.addEventListener('abort', kill, { once: true });
  const id = newProcessId();
  const taken = { stdout: 0, stderr: 0 };
  let lost: SkerryError | undefined;
  const sink: ProcessSink = {
    write: (stream, offset, chunk) => {
      taken[stream] = offset + chunk.length;
      return writer.stdin.write(chunk) ? undefined : drained();
    },
    eof: (stream) => void (stream === 'stdout' && writer.stdin.end()),
    exit: () => {},
    lost: (error) => {
      lost = error;
      kill();
    },
  };
  // One that ended takes no more.
  const drained = () => Promise.race([once(writer.stdin, 'drain'), ended]).then(() => undefined);
  let helper: ProcessChannel | undefined;
  try {
    helper = await agent.start(
      {
        ...{ id, argv: [GUEST_AGENT, 'files', path], env: {}, cwd: '/', timeoutMs: TIMEOUT_MS },
        ...{ stdin: 'pipe', stdout: 'pipe', stderr: 'null' },
      },
      sink,
      either,
    );
    ask(writer.stdout, helper);
    const [code] = await ended;
    either.throwIfAborted();
    if (lost) throw lost;
    if (code !== 0) throw treeError(code, await words);
  } catch (error) {
    signal.throwIfAborted();
    throw either.aborted
      ? new SkerryError('deadline-exceeded', 'The copy of the files took longer than half an hour.')
      : error;
  } finally {
    kill();
    either.removeEventListener('abort', kill);
    await ended.catch(() => {});
    helper?.detach();
    void forgetProgram(agent, id, taken).catch(() => {}); // the sandbox is gone, or will be
  }
}

/** Passes on what the writer asks for; it never asks for more than the helper can be told of at once. */
function ask(requests: NodeJS.ReadableStream, helper: ProcessChannel): void {
  let offset = 0;
  requests.on('data', (chunk: Buffer) => {
    helper.writeStdin(offset, chunk).catch(() => {}); // its output ends, which tells
    offset += chunk.length;
  });
}
