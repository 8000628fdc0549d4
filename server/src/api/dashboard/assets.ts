/** The files of the page, as `npm run setup` built them (`web/build.mjs`): few and small, so they are read once and kept. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AnyRequest, AnyResponse } from '../../transport/port.ts';

const TYPES: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
  svg: 'image/svg+xml',
};

/**
 * Scripts are our own files; nothing is made of text (`trusted-types`), nothing is loaded from elsewhere, nobody frames it. Styles within the page are the
 * terminal's, whose sizes and colours are known when it runs.
 */
const PAGE_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

/** A name that changes with the content. */
const HASHED = /-[0-9A-Z]{8}\.\w+$/;

interface Asset {
  readonly type: string;
  readonly bytes: Buffer;
  readonly gzipped: Buffer;
}

export class Assets {
  readonly #directory: string;
  #files: ReadonlyMap<string, Asset> = new Map();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Sends a file by its name; false when there is none. */
  send(name: string, request: AnyRequest, response: AnyResponse): boolean {
    // While they are built anew there are none.
    if (this.#files.size === 0) this.#files = read(this.#directory);
    const asset = this.#files.get(name);
    if (!asset) return false;
    const gzip = /\bgzip\b/.test(String(request.headers['accept-encoding'] ?? ''));
    response.setHeader('content-type', asset.type);
    response.setHeader('content-security-policy', PAGE_POLICY);
    response.setHeader('referrer-policy', 'no-referrer');
    response.setHeader('cross-origin-opener-policy', 'same-origin');
    response.setHeader('cross-origin-resource-policy', 'same-origin');
    response.setHeader(
      'cache-control',
      HASHED.test(name) ? 'public, max-age=31536000, immutable' : 'no-cache',
    );
    response.setHeader('vary', 'accept-encoding');
    if (gzip) response.setHeader('content-encoding', 'gzip');
    response.end(gzip ? asset.gzipped : asset.bytes);
    return true;
  }
}

function read(directory: string): ReadonlyMap<string, Asset> {
  const names = existsSync(directory) ? readdirSync(directory) : [];
  return new Map(
    names.flatMap((name): [string, Asset][] => {
      const type = TYPES[name.slice(name.lastIndexOf('.') + 1)];
      if (type === undefined) return [];
      const path = join(directory, name);
      return [[name, { type, bytes: readFileSync(path), gzipped: readFileSync(`${path}.gz`) }]];
    }),
  );
}
