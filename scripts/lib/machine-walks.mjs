/** What is tried in a machine: everything that a user does, from nothing, or the tests where most of it was carried in. */
import { CLONE, TEST_DATA } from './carried.mjs';
import { root } from './paths.mjs';
import { step } from './step.mjs';

export const testSuites = ['e2e/life/limits.test.ts', 'e2e/restart/', 'e2e/leftovers.test.ts'];
/** How much longer the tests wait there than here. */
const SLOWNESS = 20;
/** As in `npm test`. */
const TEST_TIMEOUT_MS = 900_000 * SLOWNESS;

const skerry = 'npx --no-install skerry';
const python = '.skerry/venv/modal-1.6.4/bin/python';
/** A client's program before and after the reboot; `$1` chooses. */
const CLIENT = `
import sys, modal
app = modal.App.lookup("machines", create_if_missing=True)
image = modal.Image.debian_slim(python_version="3.11")
if sys.argv[1] == "before":
    modal.Secret.objects.create("kept", {"WORD": "treasure"})
    sandbox = modal.Sandbox.create("sleep", "3600", app=app, image=image, name="worker", timeout=3600)
    open("/root/sandbox", "w").write(sandbox.object_id)
elif sys.argv[1] == "alive":
    sandbox = modal.Sandbox.from_id(open("/root/sandbox").read())
    assert sandbox.poll() is None
    assert sandbox.exec("echo", "alive").stdout.read() == "alive\\n"
else:
    sandbox = modal.Sandbox.from_id(open("/root/sandbox").read())
    assert sandbox.poll() is not None
    try:
        sandbox.exec("true")
        raise SystemExit("an exec in a sandbox that the reboot ended did not fail")
    except modal.exception.Error as error:
        assert "rebooted" in str(error), error
    again = modal.Sandbox.create("sleep", "60", app=app, image=image, name="worker", secrets=[modal.Secret.from_name("kept")])
    assert again.exec("printenv", "WORD").stdout.read() == "treasure\\n"
    again.terminate(wait=True)
`;
/** What kind of machine it is, and what isolates on it. */
const FACTS =
  '. /etc/os-release; echo "$PRETTY_NAME"; uname -r; stat -fc %T /sys/fs/cgroup; systemctl --version | head -1; runc --version | head -1; node --version; ~/.cache/skerry/bin/runsc --version | head -1';
/** Everything of Skerry's on the machine, one thing a line. */
const LEFT = [
  'grep -h skerry- /proc/mounts',
  "find /sys/fs/cgroup -name '*skerry*'",
  "find /run /etc/systemd/system -maxdepth 1 -name 'skerry-*'",
  'ip netns list',
  'ip -o link | grep -i sk',
  'nft list tables',
  "systemctl list-units --all --no-legend 'skerry*'",
].join('; ');

const nothing = { isGood: ({ output }) => output.trim() === '' };
const gvisor = { isGood: ({ output }) => /^isolation +gvisor$/m.test(output) };

/** Quickstart, install, reboot, down: the commit that is checked out, from nothing. */
export async function walkFromNothing(machine, record, withSuites) {
  await step('Copy the commit', (progress) => machine.copyCommit(root, progress));
  await machine.run(`cat > /root/client.py <<'END'\n${CLIENT}\nEND`);
  const client = (word) => `eval "$(${skerry} env)"; ${python} /root/client.py ${word}`;
  await record.attempt('`npm run quickstart`, from nothing', 'npm run quickstart');
  await record.attempt('`npm run quickstart`, again', 'npm run quickstart');
  record.facts = (await machine.run(FACTS)).output;
  await record.attempt('gVisor is in use', `${skerry} status`, gvisor);
  await record.attempt('`skerry install`', `${skerry} install`);
  await record.attempt('a sandbox', client('before'));
  await record.attempt('the service restarted', 'systemctl restart "skerry-????????.service"');
  await record.attempt('the sandbox goes on', client('alive'));
  const boot = (await machine.run('cat /proc/sys/kernel/random/boot_id')).output.trim();
  await machine.run('systemctl reboot');
  await step('Reboot', (progress) => machine.answers(progress, boot));
  await record.attempt(
    'the server is there after the reboot',
    `for i in $(seq 200); do ${skerry} status && exit 0; sleep 3; done; exit 1`,
  );
  await record.attempt('the sandbox ended by the reboot; name and secret are there', client('after'));
  await record.attempt('`skerry down`', `${skerry} down`);
  await record.attempt('`skerry uninstall`', `${skerry} uninstall`);
  await record.attempt('nothing is left', LEFT, nothing);
  if (withSuites) {
    for (const tests of testSuites) {
      await record.attempt(
        `\`npm test -- ${tests}\``,
        `SKERRY_TEST_SLOWNESS=${SLOWNESS} npm test -- ${tests}`,
      );
    }
    await record.attempt('nothing is left after the tests', LEFT, nothing);
  }
}

/** The tests, in a machine that carries what the quickstart would build; the official client's server first, as users start it. */
export async function walkCarrying(machine, record, tests) {
  record.facts = (await machine.run(FACTS)).output;
  await record.attempt('`npm run quickstart`', 'npm run quickstart');
  await record.attempt('gVisor is in use', `${skerry} status`, gvisor);
  await record.attempt('`skerry down`', `${skerry} down`);
  await record.attempt('nothing is left', LEFT, nothing);
  for (const file of tests) {
    const variables = `SKERRY_TEST_SLOWNESS=${SLOWNESS} SKERRY_E2E_DATA_DIR=${TEST_DATA}`;
    const command = `node_modules/.bin/node --test --import=./scripts/lib/test-end.mjs --test-timeout=${TEST_TIMEOUT_MS} ${file}`;
    await record.attempt(`\`node --test ${file}\``, `cd ${CLONE}; ${variables} ${command}`, { note: counts });
  }
  await record.attempt('nothing is left after the tests', LEFT, nothing);
}

/** What Node's test runner counted: a run in which much was skipped is not to look like one in which it was not. */
function counts({ output }) {
  const count = (name) => Number(new RegExp(`^ℹ ${name} (\\d+)$`, 'm').exec(output)?.[1] ?? 0);
  return `${count('pass')} passed, ${count('fail') + count('cancelled')} failed, ${count('skipped')} skipped`;
}
