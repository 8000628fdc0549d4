/**
 * Makes one file of the server, `dist/server.cjs`: Node finds, reads and links each of a thousand modules, which was most of a start (docs/decisions/0073). Takes a second or two.
 * `src/main.ts` runs it for as long as the sources are the same.
 */
import { mkdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildOneFile, replace } from '../scripts/lib/one-file.mjs';
import { bundleFile, firstLine, takeSource } from './bundle.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = dirname(here.replace(/\/$/, ''));

/**
 * What only some settings and calls ask for, or nobody does: not in the file, which Node reads as a whole, but loaded as packages where somebody asks. A plain start loads none of them, from the
 * file or from the sources; a test looks.
 */
export const onDemand = [
  '@fastify/ajv-compiler',
  '@fastify/fast-json-stringify-compiler',
  '@kubernetes/client-node',
  '@modelcontextprotocol/sdk',
  '@opentelemetry/core',
  '@opentelemetry/exporter-trace-otlp-proto',
  '@opentelemetry/resources',
  '@opentelemetry/sdk-trace-base',
  'ajv',
  'light-my-request',
  'pg',
];

/** What changes the file and is no source of it. Packages change by being installed, which npm writes down. */
const others = [
  'server/build.mjs',
  'scripts/lib/one-file.mjs',
  'tsconfig.json',
  'node_modules/.package-lock.json',
];

/** @returns its bytes, and the files that it is made of, relative to the clone */
export async function buildServer() {
  /** As each was read: one that is edited meanwhile is another. */
  const taken = new Map(others.map((path) => [path, takeSource(path).source]));
  const asItIs = {
    name: 'sources',
    setup({ onLoad }) {
      onLoad({ filter: /\.(ts|mjs|js|cjs|json)$/ }, ({ path }) => {
        const name = relative(root, path);
        if (name.startsWith('node_modules/')) return;
        const { content, source } = takeSource(name);
        taken.set(name, source);
        const loader = /\.[cm]?([jt]s|json)$/.exec(path)?.[1];
        return { contents: whereItLies(content.toString('utf8'), name), loader };
      });
      // Translations of what the schema library says, which nobody here uses.
      onLoad({ filter: /\/zod\/v4\/locales\/index\.js$/ }, () => ({ contents: '', loader: 'js' }));
    },
  };
  const { metafile, outputFiles } = await buildOneFile({
    absWorkingDir: root,
    entryPoints: [join(here, 'src', 'serve.ts')],
    outfile: bundleFile,
    external: onDemand,
    banner: { js: `const ${BUNDLE_URL} = require('node:url').pathToFileURL(__filename).href;` },
    plugins: [asItIs],
    // Node reads it where it is told to (NODE_OPTIONS=--enable-source-maps), and only then.
    sourcemap: 'linked',
    sourcesContent: false,
  });
  const ending = (end) => outputFiles.find(({ path }) => path.endsWith(end));
  const [map, file] = [ending('.map'), ending('.cjs')];
  const { mappings, ...rest } = JSON.parse(map.text);
  const inputs = Object.keys(metafile.inputs);
  const begin = firstLine(Object.fromEntries(taken));
  mkdirSync(dirname(bundleFile), { recursive: true });
  replace(map.path, JSON.stringify({ ...rest, mappings: `;${mappings}` })); // of what is below the first line
  replace(bundleFile, Buffer.concat([Buffer.from(`${begin}\n`), file.contents]));
  return { bytes: file.contents.length, inputs };
}

/** The name of the file's own URL in it. */
const BUNDLE_URL = '__bundleUrl';

/** A source finds what lies beside it (programs, threads, pages) from where it lies itself, wherever the clone is. */
const whereItLies = (text, name) =>
  text.replaceAll(
    'import.meta.url',
    `new URL(${JSON.stringify(relative(dirname(relative(root, bundleFile)), name))}, ${BUNDLE_URL}).href`,
  );
