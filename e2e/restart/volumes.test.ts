/** Volumes in sandboxes while the server dies and comes back, through the official client. */
import { after, before, describe, test } from 'node:test';
import { runPython } from '../support/clients.ts';
import { inventory } from '../support/inventory.ts';
import { runtimesToTest } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { common, look, start, words } from './volume-programs.ts';

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`volumes and a server that dies under ${runtime}`, { skip }, () => {
    let server: TestServer;
    before(async () => {
      server = await startServer({ runtime });
    });
    // Asserts that nothing of them is left on the machine.
    after(() => server?.stop());

    for (const how of ['killed', 'ended gracefully'] as const) {
      test(`nothing that was written is lost when it is ${how}`, async () => {
        const name = `${runtime}-${how.split(' ')[0]}`;
        const ids = words(await runPython(server, start(name)));
        if (how === 'killed') await server.kill9();
        else await server.terminate();
        await server.restart();
        words(await runPython(server, look(name, ids)));
      });
    }

    test('sandboxes that died with it have left what they wrote', async () => {
      words(await runPython(server, start(`${runtime}-died`)));
      await server.kill9();
      for (const line of await inventory(server.dataDir)) {
        const pid = /^process (\d+) .* cgroup=\/./.exec(line)?.[1];
        if (pid !== undefined) killIfThere(Number(pid));
      }
      await server.restart();
      const left = `${common}
assert content(modal.Volume.from_name("${runtime}-died"), "uncommitted") == "not yet\\n"
`;
      words(await runPython(server, left));
    });
  });
}

/** Others of a sandbox go with its first process. */
function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}
