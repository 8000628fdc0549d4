/** Images without a registry, through the Python clients. `npm run test:pythons` has every version of Python. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { runPython } from '../support/clients.ts';
import { startServer, type TestServer } from '../support/server.ts';
import { assertWhole, build, noRegistry } from './support.ts';

describe('images without a registry', { concurrency: 2 }, () => {
  let server: TestServer;
  before(async () => {
    server = await startServer({ runtime: 'runc', env: noRegistry });
  });
  after(() => server?.stop());

  test('debian_slim of Python 3.12: wheels, sources, venv, certificates', async () => {
    const { found } = await build(server, ['debian_slim', '3.12']);
    assertWhole(found[0], '3.12');
    assert.equal(found[0].built, true, 'a package was built from its source');
  });

  test('python:3.14-slim, installed into by pip and by uv, the newest and one that is named', async () => {
    const tag = 'python:3.14-slim-bookworm';
    const plain = await build(server, ['from_registry', tag]);
    assertWhole(plain.found[0], '3.14');
    const { found } = await build(server, ['uv_pip', tag, '0.9.9']);
    for (const { six } of found) assert.match(six, /^1\./);
    const [newest, named] = found.map(({ uv }) => uv);
    assert.match(newest ?? '', /^\d+\.\d+\.\d+$/);
    assert.equal(named, '0.9.9');
    const synced = await build(server, ['uv_sync', tag]);
    assert.equal(synced.found[0]?.six, '1.16.0');
  });

  test('add_python: 1.0.5 installs its requirements into a release without the name `python`, 1.5.5 with a Dockerfile takes one with it', async () => {
    const old = await build(server, ['add_python', 'debian:12-slim', '3.12'], '1.0.5');
    assertWhole(old.found[0], '3.12');
    const { found } = await build(server, ['dockerfile_add_python', '3.14'], '1.5.5');
    assertWhole(found[0], '3.14');
    assert.equal(found[0].kept, 'kept');
  });

  test('what cannot be had says what can', async () => {
    const ask = (image: string) =>
      runPython(
        server,
        `import modal
app = modal.App.lookup("images", create_if_missing=True)
modal.Sandbox.create(app=app, image=modal.Image.${image})`,
      );
    const free = await ask('from_registry("debian:12-slim", add_python="3.14t")');
    assert.match(
      free.stderr,
      /no standalone Python 3\.14 without the global lock for add_python; these work: 3\.9/,
    );
    const future = await ask('from_registry("python:3.15-slim")');
    assert.match(future.stderr, /no package has Python 3\.15 for this machine; these work: 3\.9, 3\.10/);
    const alpine = await ask('from_registry("python:3.12-alpine")');
    assert.match(alpine.stderr, /nothing stands in for the variant `3\.12-alpine`/);
  });
});
