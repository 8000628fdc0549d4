/** A real browser without a screen, driven over the Chrome DevTools Protocol (https://chromedevtools.github.io/devtools-protocol/). */
import { spawn } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { z } from 'zod';
import { findProgram } from '../../server/src/platform/find-program.ts';
import { delay } from '../../server/src/platform/wait.ts';
import { patient } from './slowness.ts';

/** The browser of this machine, Debian's `chromium`; undefined where there is none. */
export const findBrowser = (): string | undefined => findProgram('chromium');

export interface Page extends AsyncDisposable {
  /** Goes to a URL. */
  open(url: string): Promise<void>;
  /** What an expression gives in the page, which must be JSON. */
  evaluate(expression: string): Promise<unknown>;
  /** Waits until an expression gives something true, and gives that. @throws when it does not for two minutes, with what the page shows */
  until(expression: string): Promise<unknown>;
  /** Types text where the cursor is. */
  type(text: string): Promise<void>;
  /** A key, perhaps with Shift held down. */
  press(key: 'Enter' | 'Escape' | 'Tab', modifier?: 'Shift'): Promise<void>;
  /** Has it look as on a screen of that size, in pixels, with the light or dark colours of the system. */
  show(size: { readonly width: number; readonly height: number; readonly dark: boolean }): Promise<void>;
  /** What is shown, as PNG. */
  picture(): Promise<Buffer>;
  /** Lets what the page downloads fall into a folder. */
  downloadInto(folder: string): Promise<void>;
  /** Gives an `<input type="file">` a file. */
  choose(selector: string, path: string): Promise<void>;
}

const UNTIL_MS = patient(120_000);

const messageSchema = z.object({
  id: z.number().optional(),
  result: z.unknown().optional(),
  error: z.object({ message: z.string() }).optional(),
});
const targetsSchema = z.object({
  targetInfos: z.array(z.object({ type: z.string(), targetId: z.string() })),
});
const sessionSchema = z.object({ sessionId: z.string() });
const pictureSchema = z.object({ data: z.base64() });
const documentSchema = z.object({ root: z.object({ nodeId: z.number() }) });
const nodeSchema = z.object({ nodeId: z.number() });
const evaluatedSchema = z.object({
  result: z.object({ value: z.unknown().optional() }),
  exceptionDetails: z.unknown().optional(),
});

/**
 * Starts a browser with one empty page, which trusts the key of one certificate (PEM) and otherwise what browsers trust.
 * @param inside makes of its command the one that runs it elsewhere. On this machine it would break off its requests whenever an interface comes or goes, as
 * sandboxes' do all the time
 * @throws when it does not start
 */
export async function startBrowser(
  browser: string,
  certificate: string,
  inside: (argv: readonly string[]) => [string, ...string[]],
): Promise<Page> {
  const profile = mkdtempSync(join(tmpdir(), 'browser-'));
  const key = new X509Certificate(certificate).publicKey.export({ type: 'spki', format: 'der' });
  const [command, ...argv] = inside([
    browser,
    ...['--headless=new', '--no-first-run', '--disable-gpu', '--disable-dev-shm-usage'],
    '--no-sandbox', // tests run as root, for which it has none
    '--remote-debugging-pipe',
    `--user-data-dir=${profile}`,
    `--ignore-certificate-errors-spki-list=${createHash('sha256').update(key).digest('base64')}`,
    'about:blank',
  ]);
  const child = spawn(command, argv, {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
    env: { ...process.env, TMPDIR: profile }, // what it leaves there goes with the profile
    detached: true,
  });
  const stop = async () => {
    if (child.exitCode === null && child.pid !== undefined) {
      const ended = once(child, 'exit');
      process.kill(-child.pid, 'SIGKILL');
      await ended;
    }
    rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  };
  try {
    // What a program has behind its third descriptor is either, as it was asked for.
    return await pageOf(child.stdio[3] as Writable, child.stdio[4] as Readable, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

async function pageOf(input: Writable, output: Readable, stop: () => Promise<void>): Promise<Page> {
  const waiting = new Map<number, PromiseWithResolvers<unknown>>();
  const gone = () => {
    for (const waiter of waiting.values()) waiter.reject(new Error('the browser is gone'));
  };
  input.on('error', gone);
  output.on('close', gone);
  /** Of the messages, which end with a zero byte each. */
  let rest = '';
  output.setEncoding('utf8').on('data', (chunk: string) => {
    const messages = (rest + chunk).split('\0');
    rest = messages.pop() ?? '';
    for (const message of messages) {
      const { id, result, error } = messageSchema.parse(JSON.parse(message));
      const waiter = id === undefined ? undefined : waiting.get(id);
      if (error) waiter?.reject(new Error(error.message));
      else waiter?.resolve(result);
    }
  });
  let last = 0;
  const send = (method: string, params: object, to: object = {}): Promise<unknown> => {
    const waiter = Promise.withResolvers<unknown>();
    waiting.set(++last, waiter);
    input.write(`${JSON.stringify({ id: last, method, params, ...to })}\0`);
    return waiter.promise;
  };
  const { targetInfos } = targetsSchema.parse(await send('Target.getTargets', {}));
  const page = targetInfos.find(({ type }) => type === 'page');
  const session = sessionSchema.parse(
    await send('Target.attachToTarget', { targetId: page?.targetId, flatten: true }),
  );
  const call = (method: string, params: object = {}) => send(method, params, session);
  const evaluate = async (expression: string): Promise<unknown> => {
    const answer = await call('Runtime.evaluate', { expression, returnByValue: true, awaitPromise: true });
    const { result, exceptionDetails } = evaluatedSchema.parse(answer);
    if (exceptionDetails) throw new Error(`${expression}: ${JSON.stringify(exceptionDetails)}`);
    return result.value;
  };
  return {
    evaluate,
    open: async (to) => void (await call('Page.navigate', { url: to })),
    until: async (expression) => {
      const deadline = performance.now() + UNTIL_MS;
      for (;;) {
        const value = await evaluate(expression).catch(() => undefined); // while it goes from page to page
        if (value) return value;
        if (performance.now() > deadline) {
          const shown = await evaluate('document.body?.innerText');
          throw new Error(`the page never had ${expression}:\n${shown}`);
        }
        await delay(100);
      }
    },
    type: async (text) => void (await call('Input.insertText', { text })),
    press: async (key, modifier) => {
      const windowsVirtualKeyCode = { Enter: 13, Escape: 27, Tab: 9 }[key];
      const event = { key, code: key, windowsVirtualKeyCode, modifiers: modifier === 'Shift' ? 8 : 0 };
      for (const type of ['rawKeyDown', 'keyUp']) await call('Input.dispatchKeyEvent', { type, ...event });
    },
    show: async ({ dark, ...size }) => {
      await call('Emulation.setDeviceMetricsOverride', { ...size, deviceScaleFactor: 1, mobile: false });
      const features = [{ name: 'prefers-color-scheme', value: dark ? 'dark' : 'light' }];
      await call('Emulation.setEmulatedMedia', { features });
    },
    picture: async () => {
      const { data } = pictureSchema.parse(await call('Page.captureScreenshot', { format: 'png' }));
      return Buffer.from(data, 'base64');
    },
    downloadInto: async (downloadPath) =>
      void (await send('Browser.setDownloadBehavior', { behavior: 'allow', downloadPath })),
    choose: async (selector, path) => {
      const { root } = documentSchema.parse(await call('DOM.getDocument'));
      const { nodeId } = nodeSchema.parse(await call('DOM.querySelector', { nodeId: root.nodeId, selector }));
      await call('DOM.setFileInputFiles', { nodeId, files: [path] });
    },
    [Symbol.asyncDispose]: stop,
  };
}
