/** A real browser without a screen: Debian's `chromium`, driven by Playwright, which brings none of its own. */
import { createHash, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Browser, chromium } from '@playwright/test';
import { findProgram } from '../../server/src/platform/find-program.ts';
import { patient } from './slowness.ts';

/** The browser of this machine; undefined where there is none. */
export const findBrowser = (): string | undefined => findProgram('chromium');

/** One that was started, and its end, with which nothing is left of it. */
export interface StartedBrowser extends AsyncDisposable {
  readonly browser: Browser;
}

/**
 * Starts a browser, which trusts the key of one certificate (PEM) and otherwise what browsers trust.
 * @param inside makes of its command the one that runs it elsewhere. On this machine it would break off its requests whenever an interface comes or goes, as
 * sandboxes' do all the time
 * @throws when it does not start
 */
export async function startBrowser(
  program: string,
  certificate: string,
  inside: (argv: readonly string[]) => readonly string[],
): Promise<StartedBrowser> {
  const scratch = mkdtempSync(join(tmpdir(), 'browser-'));
  const remove = () => rmSync(scratch, { recursive: true, force: true, maxRetries: 5 });
  try {
    // Playwright starts a file, not a command. All words are paths and numbers of ours.
    const executablePath = join(scratch, 'browser');
    const words = inside([program]).map((word) => `'${word}'`);
    writeFileSync(executablePath, `#!/bin/sh\nexec ${words.join(' ')} "$@"\n`, { mode: 0o700 });
    const key = new X509Certificate(certificate).publicKey.export({ type: 'spki', format: 'der' });
    const browser = await chromium.launch({
      executablePath,
      args: [
        `--ignore-certificate-errors-spki-list=${createHash('sha256').update(key).digest('base64')}`,
        '--disable-gpu',
      ],
      chromiumSandbox: false, // tests run as root, for which it has none
      env: { ...process.env, TMPDIR: scratch }, // what it leaves there goes with the scratch
      timeout: patient(60_000),
    });
    const dispose = async () => {
      await browser.close();
      remove();
    };
    return { browser, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    remove();
    throw error;
  }
}
