/** What `life.mjs` needs beside its cases: a client, an app, an image, and the report that `support/cases.ts` reads. As `python/harness.py`. */
import assert from 'node:assert/strict';
import { inspect } from 'node:util';
import { ModalClient } from 'modal';

export const modal = new ModalClient();
export const app = await modal.apps.fromName('life-js', { createIfMissing: true });
export const image = modal.images.fromRegistry('python:3.11-slim');

/** The client's own default, as long as this machine needs. */
const lifetimeMs = 300_000 * Number(process.env.SKERRY_TEST_SLOWNESS ?? 1);

export const create = (params = {}) =>
  modal.sandboxes.create(app, image, { timeoutMs: lifetimeMs, ...params });

/** Gives `use` a sandbox of its own. */
export async function running(params, use) {
  const sandbox = await create(params);
  try {
    return await use(sandbox);
  } finally {
    await sandbox.terminate();
  }
}

let sharedSandbox;
/** One sandbox for all cases that leave nothing behind in it. */
export const shared = () => {
  sharedSandbox ??= create({ timeoutMs: 2 * lifetimeMs });
  return sharedSandbox;
};

/** Runs a program in the shared sandbox. */
export async function output(command, params = {}) {
  const process = await (await shared()).exec(command, params);
  const [stdout, stderr] = await Promise.all([process.stdout.readText(), process.stderr.readText()]);
  return { code: await process.wait(), stdout, stderr };
}

/** The error that `call` throws, which must have this name. */
export async function raised(name, call) {
  try {
    await call();
  } catch (error) {
    assert.equal(error.constructor.name, name, inspect(error));
    return error;
  }
  throw new assert.AssertionError({ message: `no ${name}` });
}

const report = (message) => process.stdout.write(`@${JSON.stringify(message)}\n`);

/** Runs the cases, four at a time. @param cases functions by their sentence */
export async function run(cases) {
  const chosen = Object.entries(cases).filter(
    ([name]) => process.argv.length < 3 || process.argv.slice(2).includes(name),
  );
  report({ plan: chosen.map(([name]) => name) });
  const queue = chosen.values();
  const worker = async () => {
    for (const [name, body] of queue) {
      let error = null;
      try {
        await body();
      } catch (thrown) {
        error = inspect(thrown);
      }
      report({ case: name, error });
    }
  };
  await Promise.all(Array.from({ length: 4 }, worker));
  await (await sharedSandbox)?.terminate();
  process.exit(0); // streams that a case left unread must not hold up the end of the program
}
