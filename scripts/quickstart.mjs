/**
 * From a fresh clone to a running server and a first program: `npm run quickstart [-- flags of skerry up]`. A second run takes seconds.
 */
import { join } from 'node:path';
import { attach, capture } from './lib/command.mjs';
import { node, root } from './lib/paths.mjs';
import { runMain, SetupError, step } from './lib/step.mjs';
import { pythonWithModal } from './lib/toolchains.mjs';
import { pythonClientVersions, setup, setupPythonClients, withoutGvisor } from './setup.mjs';

const cli = join(root, 'cli', 'bin', 'skerry.mjs');
const skerry = (...args) => [node, cli, ...args];

await runMain(async () => {
  const flags = process.argv.slice(2);
  if (process.getuid?.() !== 0) {
    throw new SetupError(
      'Skerry needs root to make namespaces, mounts and cgroups. Run: sudo npm run quickstart',
    );
  }
  const [version] = pythonClientVersions;
  const noGvisor = await setup();
  await setupPythonClients([version]);

  await step('Server', async (progress) => {
    const out = await capture(skerry('up', ...flags), { progress });
    return out.split('\n')[0].replace(/\.$/, '');
  });
  const dataDir = flagValue(flags, '--data-dir');
  const at = dataDir ? ['--data-dir', dataDir] : [];
  const variables = JSON.parse(await capture(skerry('env', '--format', 'json', ...at)));

  const { isolation } = JSON.parse(await capture(skerry('status', '--json', ...at)));

  const example = join('examples', 'python', 'safe_code_execution.py');
  process.stderr.write(`\n$ python ${example}\n`);
  const code = await attach([pythonWithModal(version), join(root, example)], {
    env: { ...process.env, ...variables },
  });
  if (code !== 0) {
    throw new SetupError(
      `${example} failed with status ${code}. The server's log may say more: skerry status shows where it is.`,
    );
  }
  const names = ['MODAL_SERVER_URL', 'MODAL_TOKEN_ID', 'MODAL_TOKEN_SECRET'];
  process.stdout.write(
    [
      '',
      isolation === 'gvisor'
        ? 'That ran under gVisor: a kernel of its own between the code and this machine.'
        : "That ran under runc, on this machine's own kernel.",
      'The server goes on running. Any Modal client of this machine reaches it with:',
      '',
      ...names.map((name) => `export ${name}=${variables[name]}`),
      '',
      'or, in this directory: eval "$(npx --no-install skerry env)"',
      `Stop it and end all its sandboxes: npx --no-install skerry down${at.length > 0 ? ` ${at.join(' ')}` : ''}`,
      '',
    ].join('\n'),
  );
  if (isolation !== 'gvisor' && flagValue(flags, '--runtime') !== 'runc') {
    const why = noGvisor ?? 'it does not work here; `npx --no-install skerry doctor` says more';
    process.stderr.write(withoutGvisor(why));
  }
});

/** The value of a flag given as `--flag value` or `--flag=value`. */
function flagValue(flags, name) {
  const index = flags.findIndex((word) => word === name || word.startsWith(`${name}=`));
  if (index < 0) return undefined;
  return flags[index].includes('=') ? flags[index].slice(name.length + 1) : flags[index + 1];
}
