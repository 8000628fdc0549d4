/**
 * The container image of the server, built by a server of this clone: `npm run image -- [--output FILE] [--push REFERENCE] [-- FLAGS of skerry up]`. Neither needs a registry
 * but `--push`. Without either, what goes into the image is gathered and nothing is built: `docker build .skerry/container` does that as well.
 */
import { cpSync, existsSync, lstatSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { bundleFile, contentFile } from '../cli/bin/bundle.mjs';
import { bundleFile as serverFile, withoutSources } from '../server/bundle.mjs';
import { capture } from './lib/command.mjs';
import { localDir, node, root } from './lib/paths.mjs';
import { runMain, SetupError, step } from './lib/step.mjs';
import { setup } from './setup.mjs';

const WORKSPACES = ['server', 'cli', 'sdk', 'connect'];
/** Built and so in no list of git's. */
const BUILT = ['web/dist'];
/** Files of packages that nothing of ours loads, half of them all; and what the Node of npm was unpacked from. */
const NOT_RUN = /node_modules\/node\/node_modules$|\.(d\.[cm]?ts|map|md)$/;
const NAME = 'skerry';

const context = join(localDir, 'container');
const dataDir = join(localDir, 'container-data');
const skerry = (...words) => [node, join(root, 'cli', 'bin', 'skerry.mjs'), ...words, '--data-dir', dataDir];

await runMain(async () => {
  const { values, positionals } = parseArgs({
    options: { output: { type: 'string' }, push: { type: 'string' } },
    allowPositionals: true,
  });
  const { output, push } = values;
  if ((output || push) && process.getuid?.() !== 0)
    throw new SetupError('A server that builds images needs root.');
  await setup();
  await step('What goes into the image', gather);
  if (!output && !push) return;
  try {
    await step('Server', async (progress) => {
      await capture(skerry('up', '--port', '0', '--warm-pool', 'off', ...positionals), { progress });
    });
    await step('Image', async (progress) => {
      await capture(skerry('image', 'build', context, '--tag', NAME), { progress });
    });
    await step('What is in it', tryImage);
    if (output) {
      await step('Archive', async (progress) => {
        await capture(skerry('image', 'export', NAME, '--output', resolve(output)), { progress });
        return output;
      });
    }
    if (push) {
      await step('Registry', async (progress) => {
        await capture(skerry('image', 'push', NAME, push), { progress });
        return push;
      });
    }
  } finally {
    await step('Clean up', async (progress) => {
      await capture(skerry('down'), { progress });
    });
  }
});

/** Runs the command of the image in a sandbox of it. @throws SetupError where it is not there, is another, does not run from its bundle, or has none of the server */
async function tryImage(progress) {
  const run = [node, join(root, 'cli', 'bin', 'skerry.mjs'), 'run', '--data-dir', dataDir];
  const inside = (...words) =>
    capture([...run, '--image', NAME, '--net', 'none', '--', ...words], { progress });
  const { version } = JSON.parse(readFileSync(join(root, 'cli/package.json'), 'utf8'));
  const isBundled = (path) =>
    `import('/opt/skerry/${path}').then(({ isBundled }) => console.log(isBundled(...process.argv.slice(1))))`;
  const said = [
    await inside('skerry', '--version'),
    await inside('skerry', 'env', '--help'),
    await inside('node', '--eval', isBundled('cli/bin/bundle.mjs'), 'env'),
    await inside('node', '--eval', isBundled('server/bundle.mjs')),
  ];
  const expected = [`${version}\n`, 'Usage: skerry env ', 'true\n', 'true\n'];
  const wrong = said.findIndex((text, index) => !text.startsWith(expected[index]));
  if (wrong >= 0)
    throw new SetupError(
      `The image says ${JSON.stringify(said[wrong])}, not ${JSON.stringify(expected[wrong])}.`,
    );
  return `skerry ${version}, from its bundle`;
}

/** Fills the directory that the image is built of. */
async function gather() {
  rmSync(context, { recursive: true, force: true });
  const listed = await capture(
    [
      'git',
      'ls-files',
      '-z',
      '--cached',
      '--others',
      '--exclude-standard',
      ...WORKSPACES,
      'images',
      'LICENSE',
      'package.json',
    ],
    { cwd: root },
  );
  const isOfTests = (path) => /\.test\.\w+$|(^|\/)testing\//.test(path);
  for (const path of listed.split('\0')) if (path !== '' && !isOfTests(path)) take(path);
  for (const path of BUILT) take(path);
  const built = readdirSync(join(root, 'target/release'));
  for (const name of built) if (/^skerry-[a-z-]+$/.test(name)) take(`target/release/${name}`);
  const needed = await capture(
    [
      ...['npm', 'ls', '--omit', 'dev', '--all', '--parseable', '--include-workspace-root'],
      ...WORKSPACES.flatMap((name) => ['--workspace', name]),
    ],
    { cwd: root },
  );
  const packages = needed
    .trim()
    .split('\n')
    .map((path) => relative(root, path));
  // Links lead to the workspaces, which import nothing by them.
  const isPackage = (path) => path.startsWith('node_modules/') && lstatSync(join(root, path)).isDirectory();
  for (const path of packages) if (isPackage(path)) take(path);
  takeCommand();
  takeServer();
  cpSync(join(root, 'deploy/Dockerfile'), join(context, 'Dockerfile'));
}

/** The command in one file. No source of an image changes, and none has the time there that it has here: it is used whatever they are. */
function takeCommand() {
  take(relative(root, bundleFile));
  const { commands } = JSON.parse(readFileSync(contentFile, 'utf8'));
  writeFileSync(join(context, relative(root, contentFile)), JSON.stringify({ commands, sources: {} }));
}

/** The server in one file, likewise. */
function takeServer() {
  take(relative(root, serverFile));
  writeFileSync(join(context, relative(root, serverFile)), withoutSources());
}

/** @param path relative to the clone */
function take(path) {
  if (!existsSync(join(root, path))) return; // removed, and git was not told yet
  cpSync(join(root, path), join(context, path), { recursive: true, filter: (from) => !NOT_RUN.test(from) });
}
