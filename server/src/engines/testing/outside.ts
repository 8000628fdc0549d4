/** Makes and removes the namespace in which `outside-peer.ts` runs, reachable at a public (documentation) and at a private address. */
import { fileURLToPath } from 'node:url';
import { Cleanup } from '../../platform/cleanup.ts';
import { run } from '../../platform/command.ts';

export interface Outside extends AsyncDisposable {
  /** RFC 5737: stands for any address of the internet. */
  readonly publicAddress: '198.51.100.2';
  /** In a range that sandboxes must not reach. */
  readonly privateAddress: '172.31.254.2';
}

/** @param name at most 11 characters, unique on the machine. */
export async function createOutside(name: string): Promise<Outside> {
  const done = new Cleanup();
  const namespace = `skerry-out-${name}`;
  try {
    done.add('namespace', () =>
      run(['ip', '-force', '-batch', '-'], {
        input: `link del o-${name}\nnetns del ${namespace}\n`,
        okCodes: [1],
      }),
    );
    await run(['ip', '-batch', '-'], {
      input: `netns add ${namespace}
link add o-${name} type veth peer name eth0 netns ${namespace}
addr add 198.51.100.1/30 dev o-${name}
addr add 172.31.254.1/30 dev o-${name}
link set o-${name} up
`,
    });
    await run(['ip', '-n', namespace, '-batch', '-'], {
      input:
        'link set lo up\nlink set eth0 up\naddr add 198.51.100.2/30 dev eth0\naddr add 172.31.254.2/30 dev eth0\n',
    });
    const stop = new AbortController();
    const ready = Promise.withResolvers<void>();
    const peer = run(
      [
        'ip',
        'netns',
        'exec',
        namespace,
        process.execPath,
        fileURLToPath(new URL('outside-peer.ts', import.meta.url)),
      ],
      {
        signal: stop.signal,
        timeoutMs: 30 * 60_000,
        onOutput: (chunk) => chunk.includes('ready') && ready.resolve(),
      },
    );
    peer.catch(ready.reject);
    done.add('peer', async () => {
      stop.abort();
      await peer.catch(() => {});
    });
    await ready.promise;
  } catch (error) {
    await done.run();
    throw error;
  }
  return {
    publicAddress: '198.51.100.2',
    privateAddress: '172.31.254.2',
    [Symbol.asyncDispose]: () => done.run(),
  };
}
