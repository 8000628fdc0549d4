/**
 * What is carried into a machine's disk instead of being built in it: an emulated processor needs more than an hour for that. The Debian's own programs that
 * must run are run in a chroot, at this machine's speed. `carried` says in words what the machine did not do itself.
 */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { pythonClientVersions, setup, setupPythonClients } from '../setup.mjs';
import { capture } from './command.mjs';
import { besideRunsc, findRunsc } from './gvisor.mjs';
import { cacheDir, node, root } from './paths.mjs';
import { SetupError } from './step.mjs';
import { systemPackages, testPackages } from './system-packages.mjs';
import { pythonWithModal, rustPrograms } from './toolchains.mjs';

/** Debian's packages that the set-up would install. */
export const carriedPackages = [
  ...[...systemPackages, ...testPackages].map(({ name }) => name),
  ...['python3', 'python3-venv'],
];

/** The clone in the machine, and the data directory that its tests share. */
export const CLONE = '/root/skerry';
export const TEST_DATA = '/root/e2e-data';
const DEFAULT_DATA = '/root/.local/state/skerry';

/** For the record. */
export const carried = [
  "Debian's packages, installed while the disk was made",
  '`node_modules`, the programs in Rust (static), and `runsc`, as they were built on the machine that ran the script',
  "the official Python client, installed by the scripts with this Debian's Python in a chroot",
  'the images that the quickstart and these tests start from, built by the same commit on the machine that ran the script',
];

/** The images of the tests and of the quickstart's example: what is built of them is found again by its recipe. */
const IMAGES = `
import modal
app = modal.App.lookup("carried", create_if_missing=True)
for image in (
    modal.Image.from_registry("python:3.11-slim"),
    modal.Image.from_registry("debian:bookworm-slim"),
    modal.Image.debian_slim(python_version="3.11"),
):
    modal.Sandbox.create(app=app, image=image).terminate()
`;

/** Puts everything into the tree of a disk that is being made. */
export async function carryInto(tree, progress) {
  const inTree = (path) => join(tree, path.replace(/^\//, ''));
  await setup();
  await setupPythonClients(pythonClientVersions.slice(0, 1));
  const clone = inTree(CLONE);
  await capture(['git', 'clone', '--quiet', '--no-hardlinks', '--depth', '1', `file://${root}`, clone]);
  for (const path of nodeModules()) copy(path, join(clone, relative(root, path)));
  for (const name of rustPrograms) {
    const built = join(clone, 'target', 'release', name);
    copy(join(root, 'target', 'release', name), built);
    // What is older than a source is built again, and every source of a new clone is new.
    utimesSync(built, new Date(), new Date());
  }
  const runsc = await findRunsc();
  if (runsc !== join(cacheDir(), 'bin', 'runsc'))
    throw new SetupError(`Only a gVisor that the set-up built can be carried, not ${runsc}.`);
  for (const name of ['runsc', ...besideRunsc])
    copy(join(dirname(runsc), name), inTree(`/root/.cache/skerry/bin/${name}`));
  await pythonClient(tree, progress);
  await images([DEFAULT_DATA, join(TEST_DATA, '1')].map(inTree), progress);
}

const copy = (from, to) => {
  mkdirSync(dirname(to), { recursive: true });
  cpSync(from, to, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true });
};

function nodeModules() {
  const { workspaces } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  return ['.', ...workspaces].map((path) => join(root, path, 'node_modules')).filter(existsSync);
}

/** The set-up's own step, run by the Debian in the tree. */
async function pythonClient(tree, progress) {
  const [version] = pythonClientVersions;
  const program = `import('${CLONE}/scripts/setup.mjs').then((set) => set.setupPythonClients(['${version}']))`;
  const command = `set -a; . /etc/environment; set +a; HOME=/root exec node -e "${program}"`;
  const inside = ['unshare', '--mount', '--pid', '--fork', `--root=${tree}`, '--mount-proc', '--wd=/'];
  await capture([...inside, 'sh', '-ec', command], { progress });
}

/** Has a server of this machine build the images, and copies its data. */
async function images(destinations, progress) {
  const scratch = mkdtempSync(join(tmpdir(), 'carried-'));
  const data = join(scratch, 'data');
  const skerry = (...args) =>
    capture([node, join(root, 'cli', 'bin', 'skerry.mjs'), ...args, '--data-dir', data], { progress });
  const python = pythonWithModal(pythonClientVersions[0]);
  try {
    try {
      await skerry('up', '--port', '0');
      const env = { ...process.env, ...JSON.parse(await skerry('env', '--format', 'json')) };
      await capture([python, '-c', IMAGES], { env, progress });
      await capture([python, join(root, 'examples', 'python', 'safe_code_execution.py')], { env, progress });
    } finally {
      await skerry('down');
    }
    for (const destination of destinations) {
      mkdirSync(dirname(destination), { recursive: true });
      await capture(['cp', '--archive', data, destination]);
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
