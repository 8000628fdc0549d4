/** Volumes in sandboxes that are Pods of a real cluster, through the official Python client: `npm run test:kubernetes`. */
import { randomUUID } from 'node:crypto';
import { after, before, describe, test } from 'node:test';
import { pythonCases } from '../life/support/cases.ts';
import { look, start, words } from '../restart/volume-programs.ts';
import { runPython } from '../support/clients.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { kubeconfig, registry } from './cluster.ts';

const { SKERRY_TEST_RUNTIME_CLASS: runtimeClass } = process.env;
/** All of sandboxes on a machine, but for what Pods have not: sidecars and users of their own. */
const CASES = [
  'a_mount_shows_what_the_volume_holds_and_its_own_writes',
  'what_a_sandbox_wrote_is_in_the_volume_after_its_end',
  'files_belong_to_the_users_of_whichever_sandbox_has_them',
  'however_a_sandbox_ends_its_writes_stay',
  'a_client_reads_what_a_running_sandbox_has_written',
  'another_sandbox_sees_it_after_a_reload_and_not_before',
  'the_last_writer_of_a_path_wins',
  'read_only_sub_path_and_several',
  'no_link_leads_out_of_the_volume',
  'what_cannot_be_mounted_is_refused',
  'a_volume_that_is_deleted_stays_where_it_is_mounted',
  'programs_in_a_sandbox_work_on_many_files',
  'a_memory_map_is_in_the_volume',
  'a_snapshot_of_the_file_system_leaves_volumes_out',
];
const CASES_TIMEOUT_MS = 600_000;

describe('volumes on Kubernetes', () => {
  let server: TestServer;
  before(async () => {
    server = await startServer({
      runtime: runtimeClass === undefined ? 'runc' : 'gvisor',
      flags: [
        ...['--engine', 'kubernetes', '--kubeconfig', kubeconfig, '--registry', `${registry}/skerry`],
        ...['--insecure-registries', registry],
        ...(runtimeClass === undefined ? [] : ['--runtime-class', runtimeClass]),
      ],
    });
  });
  after(() => server?.stop());

  test('in sandboxes', (t) =>
    pythonCases(t, server, 'volume_mounts', {
      env: { LIFE_RUNTIME: 'a Pod' },
      timeoutMs: CASES_TIMEOUT_MS,
      only: CASES,
    }));

  test('nothing that was written is lost when the server is killed', async () => {
    const name = `killed-${randomUUID()}`; // the data of an earlier run may be there
    const ids = words(await runPython(server, start(name)));
    await server.kill9();
    await server.restart();
    words(await runPython(server, look(name, ids)));
  });
});
