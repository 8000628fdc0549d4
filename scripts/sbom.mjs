/**
 * The bill of materials of what runs on an operator's machine: `npm run sbom [-- FILE]`, CycloneDX 1.5 (https://cyclonedx.org/specification/overview/): npm packages by `npm sbom`, crates
 * by `cargo metadata`, both of the lock files. Fails on a licence that nobody decided on.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { capture } from './lib/command.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Those that let a program under Apache-2.0 be passed on with what it is built from. */
const ALLOWED = new Set([
  '0BSD',
  'Apache-2.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'CC0-1.0',
  'ISC',
  'MIT',
  'MPL-2.0',
  'Unicode-3.0',
  'Unicode-DFS-2016',
  'Unlicense',
]);

/** Whether an SPDX expression leaves a choice that is allowed; `AND` binds closer than `OR`, and an exception (`WITH`) only allows more. */
export function isAllowed(expression) {
  const tokens = expression.match(/[()]|[^\s()]+/g) ?? [];
  const licence = () => {
    const token = tokens.shift();
    if (token === '(') {
      const inner = either();
      tokens.shift(); // its end
      return inner;
    }
    if (tokens[0] === 'WITH') tokens.splice(0, 2);
    return ALLOWED.has(token);
  };
  const all = () => {
    let allowed = licence();
    while (tokens[0] === 'AND') {
      tokens.shift();
      allowed = licence() && allowed;
    }
    return allowed;
  };
  const either = () => {
    let allowed = all();
    while (tokens[0] === 'OR') {
      tokens.shift();
      allowed = all() || allowed;
    }
    return allowed;
  };
  return either() && tokens.length === 0;
}

async function npmBill() {
  const argv = ['npm', 'sbom', '--sbom-format', 'cyclonedx', '--package-lock-only', '--omit', 'dev'];
  return JSON.parse(await capture(argv, { cwd: root }));
}

async function crates() {
  const argv = [
    'cargo',
    'metadata',
    '--format-version',
    '1',
    '--locked',
    '--filter-platform',
    'x86_64-unknown-linux-gnu',
  ];
  const { packages } = JSON.parse(await capture(argv, { cwd: root }));
  const checksums = new Map(
    [
      ...readFileSync(`${root}/Cargo.lock`, 'utf8').matchAll(
        /^name = "(.*)"\nversion = "(.*)"\nsource = .*\nchecksum = "(.*)"$/gm,
      ),
    ].map(([, name, version, checksum]) => [`${name}@${version}`, checksum]),
  );
  return packages
    .filter(({ source }) => source !== null)
    .map(({ name, version, license }) => ({
      'bom-ref': `pkg:cargo/${name}@${version}`,
      type: 'library',
      ...{ name, version, purl: `pkg:cargo/${name}@${version}` },
      licenses: [{ expression: (license ?? 'NONE').replaceAll('/', ' OR ') }],
      hashes: [{ alg: 'SHA-256', content: checksums.get(`${name}@${version}`) }],
    }));
}

const licencesOf = ({ licenses = [] }) =>
  licenses.map(({ expression, license }) => expression ?? license?.id ?? license?.name ?? 'NONE');

/** @throws Error naming what has a licence that nobody decided on */
export async function bill() {
  const [npm, cargo] = await Promise.all([npmBill(), crates()]);
  const components = [...npm.components, ...cargo];
  const open = components.filter((component) => {
    const licences = licencesOf(component);
    return licences.length === 0 || !licences.every(isAllowed);
  });
  if (open.length > 0)
    throw new Error(
      `licences to decide on:\n${open.map((one) => `${one.name} ${licencesOf(one).join(', ')}`).join('\n')}`,
    );
  return { ...npm, components };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const text = `${JSON.stringify(await bill(), null, 2)}\n`;
  const [file] = process.argv.slice(2);
  if (file === undefined) process.stdout.write(text);
  else writeFileSync(file, text);
}
