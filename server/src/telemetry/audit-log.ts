/**
 * Who did what, for whoever has to answer for it: one line of JSON for each call that is over, in files of their own that are rotated and so bounded. Never what a call said or was
 * answered: ids, names of calls and statuses alone.
 */
import { existsSync, mkdirSync, renameSync, statSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import type { CallListener } from './calls.ts';
import type { Logger } from './logger.ts';

/** A crash of the machine or a killed server loses what came within this time. */
const FLUSH_MS = 200;
/** Bytes that wait to be written, at most: what comes then is lost, and counted. */
const MAX_WAITING = 4 << 20;
/** The one that is written, and older ones: the oldest goes as a whole. */
const FILES = 8;

/** Calls of clients that keep something alive or ask about the server: nothing of anybody's is changed or read. */
const UNTOLD: ReadonlySet<string> = new Set([
  ...['ClientHello', 'AuthTokenGet', 'WorkspaceNameLookup', 'AppHeartbeat', 'VolumeHeartbeat'],
]);

export interface AuditLogOptions {
  /** `audit.log` and the older ones, `audit.log.1` and so on, are in it. */
  readonly directory: string;
  /** Of all files together. */
  readonly maxBytes: number;
  readonly logger: Logger;
  readonly now: () => number;
}

export class AuditLog {
  readonly #options: AuditLogOptions;
  readonly #path: string;
  #lines: string[] = [];
  #waiting = 0;
  #lost = 0;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();
  #file: FileHandle | undefined;
  #size = 0;

  /** Goes on with what an earlier server wrote. */
  constructor(options: AuditLogOptions) {
    this.#options = options;
    mkdirSync(options.directory, { recursive: true, mode: 0o700 });
    this.#path = join(options.directory, 'audit.log');
    this.#size = statSync(this.#path, { throwIfNoEntry: false })?.size ?? 0;
  }

  readonly onCall: CallListener = ({ api, method, status, durationMs, caller, subjects }) => {
    // What nobody's token allowed did nothing, and whoever has none must not push the rest out.
    if (caller === undefined || UNTOLD.has(method)) return;
    const line = `${JSON.stringify({
      time: new Date(this.#options.now()).toISOString(),
      ...{ token: caller, api, call: method, ...subjects, status },
      durationMs: Math.round(durationMs * 10) / 10,
    })}\n`;
    if (this.#waiting + line.length > MAX_WAITING) {
      this.#lost++;
      return;
    }
    this.#lines.push(line);
    this.#waiting += line.length;
    this.#timer ??= setTimeout(() => this.#flush(), FLUSH_MS).unref();
  };

  /** Writes what waits. What is told afterwards is lost. */
  async close(): Promise<void> {
    this.#flush();
    await this.#writing;
    await this.#file?.close();
    this.#file = undefined;
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const bytes = Buffer.from(this.#lines.join(''));
    this.#lines = [];
    this.#waiting = 0;
    if (bytes.length > 0) this.#writing = this.#writing.then(() => this.#write(bytes));
  }

  /** Never rejects: calls go on where the disk is full, and the log of the server says what is missing here. */
  async #write(bytes: Buffer): Promise<void> {
    const { maxBytes, logger } = this.#options;
    try {
      if (this.#size > 0 && this.#size + bytes.length > maxBytes / FILES) await this.#rotate();
      this.#file ??= await open(this.#path, 'a', 0o600);
      await this.#file.writeFile(bytes);
      this.#size += bytes.length;
    } catch (err) {
      this.#lost += bytes.toString('latin1').split('\n').length - 1;
      await this.#file?.close().catch(() => {});
      this.#file = undefined;
      logger.error({ err }, 'audit.not-written');
    }
    if (this.#lost > 0) logger.error({ lines: this.#lost }, 'audit.lost');
    this.#lost = 0;
  }

  async #rotate(): Promise<void> {
    await this.#file?.close();
    this.#file = undefined;
    const older = (age: number) => (age === 0 ? this.#path : `${this.#path}.${age}`);
    for (let age = FILES - 2; age >= 0; age--) {
      if (existsSync(older(age))) renameSync(older(age), older(age + 1));
    }
    this.#size = 0;
  }
}
