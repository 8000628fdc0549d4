/** Makes the dashboard's files of its source, in `dist/`, each also compressed. Takes a fraction of a second. */
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const here = fileURLToPath(new URL('.', import.meta.url));
/** Where a server looks for them. */
export const dashboardDir = join(here, 'dist');

export async function buildDashboard() {
  const { build } = await import('esbuild');
  const made = `${dashboardDir}.new`;
  rmSync(made, { recursive: true, force: true });
  mkdirSync(made, { recursive: true });
  const { metafile } = await build({
    absWorkingDir: here,
    entryPoints: ['src/main.tsx', 'src/style.css'],
    entryNames: '[name]-[hash]',
    chunkNames: '[name]-[hash]',
    outdir: made,
    bundle: true,
    splitting: true,
    format: 'esm',
    target: 'es2022',
    minify: true,
    metafile: true,
    jsx: 'automatic',
    jsxImportSource: 'preact',
    legalComments: 'none',
    logLevel: 'error',
  });
  const outputs = Object.entries(metafile.outputs);
  const nameOf = (entry) => basename(outputs.find(([, { entryPoint }]) => entryPoint === entry)[0]);
  const [script, style] = [nameOf('src/main.tsx'), nameOf('src/style.css')];
  const page = readFileSync(join(here, 'src/index.html'), 'utf8')
    .replace('{{script}}', script)
    .replace('{{style}}', style);
  writeFileSync(join(made, 'index.html'), page);
  copyFileSync(join(here, 'src/icon.svg'), join(made, 'icon.svg'));
  for (const name of readdirSync(made)) {
    const path = join(made, name);
    writeFileSync(`${path}.gz`, gzipSync(readFileSync(path), { level: 9 }));
  }
  rmSync(dashboardDir, { recursive: true, force: true });
  renameSync(made, dashboardDir);
}
