/** Snapshots through the official clients under each runtime. */
import { after, before, describe, test } from 'node:test';
import { runtimesToTest } from '../support/runtimes.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { pythonCases } from './support/cases.ts';

/** What the runtime takes part in. How long images live, what they are made of and what is on the disk is the server's, and the same under each: runc shows it. */
const UNDER_GVISOR = {
  snapshots: [
    'a_snapshot_is_one_moment_of_a_program_that_writes_all_the_time',
    'a_program_that_was_unpacked_keeps_the_capabilities_of_its_file',
    'an_exit_snapshot_holds_what_the_entrypoint_left',
    'an_exit_snapshot_is_pending_while_the_sandbox_runs_and_taken_when_it_is_terminated',
    'terminate_does_not_wait_for_a_snapshot',
  ],
  mounted: [
    'a_directory_becomes_an_image_that_is_mounted_elsewhere',
    'a_mounted_image_covers_and_unmounting_uncovers',
    'mounting_no_image_gives_an_empty_directory',
    'a_whole_image_can_be_mounted',
    'hostile_paths_stay_inside_or_are_refused',
    'a_directory_with_mounts_in_it_is_taken_with_them',
    'an_encrypted_snapshot_opens_with_its_key_only',
  ],
};

for (const { runtime, skip } of await runtimesToTest()) {
  describe(`snapshots under ${runtime}`, { skip }, () => {
    const only = runtime === 'gvisor' ? UNDER_GVISOR : { snapshots: [], mounted: [] };
    let server: TestServer;
    before(async () => {
      server = await startServer({ runtime });
    });
    after(() => server?.stop());

    test('of whole filesystems, with the Python client', (t) =>
      pythonCases(t, server, 'snapshots', { timeoutMs: 600_000, only: only.snapshots }));

    test('of directories, and images mounted into running sandboxes, with the Python client', (t) =>
      pythonCases(t, server, 'mounted', {
        env: { LIFE_DATA_DIR: server.dataDir },
        only: only.mounted,
      }));
  });
}
