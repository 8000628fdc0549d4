/**
 * Skerry from nothing on a whole machine of another kind: `npm run test:machines [-- trixie|bookworm] [--suites]`. Builds and boots a Debian in QEMU, copies the
 * commit that is checked out into it, and does there what a user does: quickstart, install, reboot, down. The record goes to `docs/machines/`. Takes hours where
 * nothing accelerates the machine, and is no part of CI. `--suites` runs the limits, restart and leftovers tests as well.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { capture } from './lib/command.mjs';
import { Machine } from './lib/machine.mjs';
import { cacheDir, root } from './lib/paths.mjs';
import { runMain, SetupError, step } from './lib/step.mjs';

const suites = ['trixie', 'bookworm'];
const testSuites = ['e2e/life/limits.test.ts', 'e2e/restart/', 'e2e/leftovers.test.ts'];
/** How much longer the tests wait there than here. */
const SLOWNESS = 20;

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

await runMain(async () => {
  const words = process.argv.slice(2);
  const suite = words.find((word) => !word.startsWith('--')) ?? suites[0];
  if (!suites.includes(suite)) throw new SetupError(`There is ${suites.join(' and ')}, not ${suite}.`);
  if (process.getuid?.() !== 0) throw new SetupError('Making a machine needs root.');
  const machine = new Machine({
    suite,
    dir: join(cacheDir(), 'machines', suite),
    port: Number(process.env.SKERRY_MACHINE_PORT || 2240),
    memoryMiB: 3072,
  });
  await step(`Machine ${suite}`, (progress) => machine.build(progress));
  try {
    await step('Boot', (progress) => machine.start(progress));
    return await report(machine, words.includes('--suites'));
  } finally {
    await machine.stop();
  }
});

async function report(machine, withSuites) {
  const rows = [];
  const commit = (await capture(['git', '-C', root, 'rev-parse', 'HEAD'])).trim();
  let facts = '';
  /** Does one thing in the machine and records how it went. */
  const attempt = async (title, commandLine, isGood = ({ code }) => code === 0) => {
    const started = Date.now();
    let result;
    await step(title, async (progress) => {
      result = await machine.run(commandLine, progress);
      const good = isGood(result);
      rows.push({ title, seconds: Math.round((Date.now() - started) / 1000), good, output: result.output });
      // After each of them: a machine that is cut off after hours leaves what it had shown.
      write(machine.suite, commit, facts, rows);
      return good ? undefined : { note: `status ${result.code}`, missing: true };
    });
    return result;
  };
  const nothing = ({ output }) => output.trim() === '';

  await step('Copy the commit', (progress) => machine.copyCommit(root, progress));
  await machine.run(`cat > /root/client.py <<'END'\n${CLIENT}\nEND`);
  const client = (word) => `eval "$(${skerry} env)"; ${python} /root/client.py ${word}`;
  await attempt('`npm run quickstart`, from nothing', 'npm run quickstart');
  await attempt('`npm run quickstart`, again', 'npm run quickstart');
  facts = (await machine.run(FACTS)).output;
  await attempt('gVisor is in use', `${skerry} status`, ({ output }) => /^isolation +gvisor$/m.test(output));
  await attempt('`skerry install`', `${skerry} install`);
  await attempt('a sandbox', client('before'));
  await attempt('the service restarted', 'systemctl restart "skerry-????????.service"');
  await attempt('the sandbox goes on', client('alive'));
  const boot = (await machine.run('cat /proc/sys/kernel/random/boot_id')).output.trim();
  await machine.run('systemctl reboot');
  await step('Reboot', (progress) => machine.answers(progress, boot));
  await attempt(
    'the server is there after the reboot',
    `for i in $(seq 200); do ${skerry} status && exit 0; sleep 3; done; exit 1`,
  );
  await attempt('the sandbox ended by the reboot; name and secret are there', client('after'));
  await attempt('`skerry down`', `${skerry} down`);
  await attempt('`skerry uninstall`', `${skerry} uninstall`);
  await attempt('nothing is left', LEFT, nothing);
  if (withSuites) {
    for (const tests of testSuites) {
      await attempt(`\`npm test -- ${tests}\``, `SKERRY_TEST_SLOWNESS=${SLOWNESS} npm test -- ${tests}`);
    }
    await attempt('nothing is left after the tests', LEFT, nothing);
  }
  return rows.every(({ good }) => good) ? 0 : 1;
}

/** Writes the record so far to `docs/machines/`. */
function write(suite, commit, facts, rows) {
  const date = new Date().toISOString().slice(0, 10);
  const failed = rows.filter(({ good }) => !good);
  const text = [
    `# ${suite}, ${date}`,
    '',
    `Commit ${commit}, by \`npm run test:machines\`: QEMU without acceleration, one processor, 3 GiB.`,
    '',
    '```',
    facts.trim(),
    '```',
    '',
    '| what | seconds | result |',
    '|---|---|---|',
    ...rows.map(({ title, seconds, good }) => `| ${title} | ${seconds} | ${good ? 'good' : '**failed**'} |`),
    ...failed.flatMap(({ title, output }) => [
      '',
      `## ${title}`,
      '',
      '```',
      output.trim().split('\n').slice(-30).join('\n'),
      '```',
    ]),
    '',
  ].join('\n');
  const dir = join(root, 'docs', 'machines');
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, `${date}-${suite}.md`), text);
}
