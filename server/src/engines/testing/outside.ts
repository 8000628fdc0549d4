/** Makes and removes the namespace in which `outside-peer.ts` or another program runs, reachable at a public (documentation) and at a private address. */
import { fileURLToPath } from 'node:url';
import { Cleanup } from '../../platform/cleanup.ts';
import { run } from '../../platform/command.ts';

export interface Outside extends AsyncDisposable {
  /** RFC 5737: stands for any address of the internet. */
  readonly publicAddress: string;
  /** In a range that sandboxes must not reach. */
  readonly privateAddress: string;
}

const peer = (...addresses: readonly string[]): readonly string[] => [
  fileURLToPath(new URL('outside-peer.ts', import.meta.url)),
  ...addresses,
];

/**
 * @param name at most 11 characters, unique on the machine
 * @param program what runs there, by its public and its private address: a script of Node's with arguments, which prints "ready"
 */
export async function createOutside(name: string, program = peer): Promise<Outside> {
  const done = new Cleanup();
  const { stdout: taken } = await run(['ip', '-o', '-4', 'address']);
  // Networks of four addresses each; other runs of the tests have some.
  const networks = Array.from({ length: 64 }, (_, index) => index * 4);
  const start = process.pid % networks.length;
  const base = [...networks.slice(start), ...networks.slice(0, start)].find(
    (each) => !taken.includes(`198.51.100.${each + 1}/`) && !taken.includes(`172.31.254.${each + 1}/`),
  );
  if (base === undefined) throw new Error('no network is left for the outside of a test');
  const at = (host: number) => ({
    publicAddress: `198.51.100.${base + host}`,
    privateAddress: `172.31.254.${base + host}`,
  });
  const [near, far] = [at(1), at(2)];
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
addr add ${near.publicAddress}/30 dev o-${name}
addr add ${near.privateAddress}/30 dev o-${name}
link set o-${name} up
`,
    });
    await run(['ip', '-n', namespace, '-batch', '-'], {
      input: `link set lo up
link set eth0 up
addr add ${far.publicAddress}/30 dev eth0
addr add ${far.privateAddress}/30 dev eth0
`,
    });
    const stop = new AbortController();
    const ready = Promise.withResolvers<void>();
    const running = run(
      ['ip', 'netns', 'exec', namespace, process.execPath, ...program(far.publicAddress, far.privateAddress)],
      {
        signal: stop.signal,
        timeoutMs: 30 * 60_000,
        onOutput: (chunk) => chunk.includes('ready') && ready.resolve(),
      },
    );
    running.catch(ready.reject);
    done.add('peer', async () => {
      stop.abort();
      await running.catch(() => {});
    });
    await ready.promise;
  } catch (error) {
    await done.run();
    throw error;
  }
  return {
    ...far,
    [Symbol.asyncDispose]: () => done.run(),
  };
}
