/** Sandboxes that waited for whoever asks next, through the official client and the command. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ModalClient, type Sandbox } from 'modal';
import { z } from 'zod';
import { askServer } from '../cli/src/operator.ts';
import { inventory, isOfASandbox } from './support/inventory.ts';
import { runtimesToTest } from './support/runtimes.ts';
import { startServer, type TestServer } from './support/server.ts';
import { isFull, untilWarm, warmKinds } from './support/warm-pool.ts';

const IMAGE = 'debian:bookworm-slim';
/** Without the numbers that no two sandboxes have in common: ids of its users, its disk. */
const alike = (text: string) => text.replaceAll(/\b(\d{10}|[0-9a-f]{16})\b/g, '-');

function killNow(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it went with another
  }
}

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`sandboxes that waited, under ${runtime}`, { skip }, () => {
    let server: TestServer;
    let client: ModalClient;
    before(async () => {
      server = await startServer({ runtime, warmPool: 4 });
      process.env.MODAL_SERVER_URL = server.url; // this client takes its server from nowhere else
      client = new ModalClient(server.token);
    });
    after(async () => {
      client?.close();
      await server?.stop(); // asserts that nothing is left
    });

    const output = async (sandbox: Sandbox, argv: string[]): Promise<string> => {
      const process = await sandbox.exec(argv);
      const text = await process.stdout.readText();
      assert.equal(await process.wait(), 0, await process.stderr.readText());
      return text;
    };
    const onMachine = async () =>
      new Set(
        (await inventory(server.dataDir)).flatMap((line) =>
          isOfASandbox(line) ? (/\bin-[0-9A-Za-z]{22}\b/.exec(line)?.[0] ?? []) : [],
        ),
      );

    test('the second of an image is one, and is what the first was', async () => {
      const app = await client.apps.fromName('warm', { createIfMissing: true });
      const image = await client.images.fromRegistry(IMAGE).build(app);
      assert.deepEqual(await warmKinds(server), [], 'nobody asked yet');
      const secret = await client.secrets.fromObject({ TOKEN: 'hush' });
      const options = {
        ...{ secrets: [secret], workdir: '/made/for/it', env: { NAME: 'value' } },
        ...{ command: ['sh', '-c', 'echo begun > /begun; exec sleep 1000'] },
      };
      const look = [
        'sh',
        '-c',
        'cat /begun; pwd; echo $TOKEN $NAME; hostname; df -P /dev/shm | tail -1; id; mount; nproc; ls /proc/1/task | wc -l',
      ];
      const first = await client.sandboxes.create(app, image, options);
      const seen = alike(await output(first, look));
      await output(first, ['sh', '-c', 'echo mine > /tmp/mine']);
      const [waiting] = await untilWarm(server, isFull);
      assert.deepEqual(
        [waiting?.label, waiting?.runtime, waiting?.network],
        [image.imageId, runtime, 'open'],
      );
      const second = await client.sandboxes.create(app, image, options);
      assert.equal(alike(await output(second, look)), seen);
      await output(second, ['sh', '-c', '! test -e /tmp/mine']);
      assert.deepEqual(
        (await warmKinds(server)).map(({ hits, misses }) => [hits, misses]),
        [[1, 1]],
      );
      await Promise.all([first.terminate(), second.terminate()]);
    });

    test('one that waited is suspended and woken, and its memory is kept for another', {
      skip: runtime === 'gvisor' ? false : 'memory is kept under gVisor',
    }, async () => {
      await untilWarm(server, isFull);
      const app = await client.apps.fromName('warm');
      const image = await client.images.fromRegistry(IMAGE).build(app);
      const sandbox = await client.sandboxes.create(app, image, {
        command: [
          'sh',
          '-c',
          'word=$(cat /proc/sys/kernel/random/uuid); while :; do echo $word > /word; sleep 0.1; done',
        ],
        experimentalEnableSnapshot: true,
      });
      const word = [
        'sh',
        '-c',
        'until test -s /word; do sleep 0.1; done; rm /word; until test -s /word; do sleep 0.1; done; cat /word',
      ];
      const kept = await output(sandbox, word);
      const [kind] = await warmKinds(server);
      assert.ok((kind?.hits ?? 0) >= 2, 'it waited');
      const ask = (what: string) =>
        askServer(
          server,
          server.dataDir,
          { method: 'POST', path: `sandboxes/${sandbox.sandboxId}/${what}`, body: {} },
          z.looseObject({}),
        );
      await ask('suspend');
      assert.equal(await output(sandbox, word), kept);
      const snapshot = await sandbox.experimentalSnapshot();
      const copy = await client.sandboxes.experimentalFromSnapshot(snapshot);
      assert.equal(await output(copy, word), kept);
      await Promise.all([sandbox.terminate(), copy.terminate()]);
    });

    test('one that died is never given away, and another takes its place', async () => {
      await untilWarm(server, isFull);
      const dead = await onMachine();
      assert.ok(dead.size > 0);
      for (const line of await inventory(server.dataDir)) {
        const pid = isOfASandbox(line) && /^process (\d+)/.exec(line)?.[1];
        if (pid) killNow(Number(pid));
      }
      await untilWarm(server, (kinds) => kinds.every(({ waiting }) => waiting === 0));
      await untilWarm(server, isFull);
      const now = await onMachine();
      assert.ok(now.size > 0);
      for (const id of now) assert.ok(!dead.has(id), id);
    });

    test('as many wait as the operator wants, also for those with a list of what they may reach', async () => {
      const body = { image: IMAGE, count: 2, forMs: 600_000, blockNetwork: true };
      const asked = { method: 'POST', path: 'warm', body } as const;
      const { waiting } = await askServer(server, server.dataDir, asked, z.object({ waiting: z.number() }));
      assert.ok(waiting >= 2, `${waiting}`);
      const app = await client.apps.fromName('warm');
      const image = await client.images.fromRegistry(IMAGE).build(app);
      const listed = await client.sandboxes.create(app, image, { outboundCidrAllowlist: ['192.0.2.0/24'] });
      await output(listed, ['true']);
      const blocked = (await warmKinds(server)).find(({ network }) => network === 'blocked');
      assert.deepEqual([blocked?.hits, blocked?.misses], [1, 0]);
    });

    test('a killed server leaves none of them to the next', async () => {
      await untilWarm(server, isFull);
      const kept = await client.sandboxes.list()[Symbol.asyncIterator]().next();
      await server.kill9();
      await server.restart();
      assert.deepEqual(await warmKinds(server), []);
      assert.equal((await onMachine()).size, 1, 'only the sandbox that runs');
      await output(kept.value as Sandbox, ['true']);
    });
  });
}
