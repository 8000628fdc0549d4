/**
 * Encryption at rest: AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce per value. The key is in `<dataDir>/vault.key`, readable by the owner
 * only, or in the environment of the server. Who reads only the database learns nothing; who reads the whole data directory does, unless the key
 * comes from elsewhere.
 */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { SkerryError } from '../errors/skerry-error.ts';
import type { Vault } from './secrets.ts';

const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
/** First byte of every ciphertext, so that the format can change. */
const FORMAT = 1;
const HEADER_BYTES = 1 + NONCE_BYTES + TAG_BYTES;

export class AesVault implements Vault {
  readonly #key: Buffer;

  /** @throws SkerryError `internal` for a key that is not 32 bytes */
  constructor(key: Uint8Array) {
    if (key.length !== KEY_BYTES) {
      throw new SkerryError('internal', `The vault key must be ${KEY_BYTES} bytes, it has ${key.length}.`);
    }
    this.#key = Buffer.from(key);
  }

  seal(plaintext: Uint8Array, context = ''): Uint8Array {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonce, { authTagLength: TAG_BYTES });
    cipher.setAAD(associatedData(context));
    const body = Buffer.concat([cipher.update(plaintext), cipher.final()]);
    return Buffer.concat([Buffer.of(FORMAT), nonce, cipher.getAuthTag(), body]);
  }

  open(ciphertext: Uint8Array, context = ''): Uint8Array {
    const bytes = Buffer.from(ciphertext);
    if (bytes.length < HEADER_BYTES || bytes[0] !== FORMAT) throw notOurs();
    const nonce = bytes.subarray(1, 1 + NONCE_BYTES);
    const decipher = createDecipheriv('aes-256-gcm', this.#key, nonce, { authTagLength: TAG_BYTES });
    decipher.setAAD(associatedData(context));
    decipher.setAuthTag(bytes.subarray(1 + NONCE_BYTES, HEADER_BYTES));
    try {
      return Buffer.concat([decipher.update(bytes.subarray(HEADER_BYTES)), decipher.final()]);
    } catch (error) {
      throw notOurs(error);
    }
  }

  /** A 32-byte key of its own for one purpose (signing URLs, tokens), the same after a restart. HKDF-SHA256, RFC 5869. */
  deriveKey(purpose: string): Uint8Array {
    return new Uint8Array(hkdfSync('sha256', this.#key, new Uint8Array(), `skerry:${purpose}`, KEY_BYTES));
  }
}

/**
 * Opens the vault of a data directory, making its key at the first start.
 * @param keyText the value of `SKERRY_VAULT_KEY` when set: 32 bytes as hex or base64; then no key file is read or written
 * @throws SkerryError `internal` when the key is malformed or its file can be read by others
 */
export function openVault(dataDir: string, keyText: string | undefined): AesVault {
  if (keyText !== undefined && keyText !== '')
    return new AesVault(parseKey(keyText.trim(), 'SKERRY_VAULT_KEY'));
  const path = join(dataDir, 'vault.key');
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  if (!isPrivateFile(path)) createKeyFile(path);
  return new AesVault(parseKey(readFileSync(path, 'utf8').trim(), path));
}

function isPrivateFile(path: string): boolean {
  const status = statSync(path, { throwIfNoEntry: false });
  if (!status) return false;
  if ((status.mode & 0o077) !== 0) {
    throw new SkerryError('internal', `${path} can be read by others; run \`chmod 600\` on it.`);
  }
  return true;
}

/** The key appears under its name only when it is complete on disk, and never replaces another one. */
function createKeyFile(path: string): void {
  const temporary = `${path}.${randomBytes(6).toString('hex')}`;
  const file = openSync(temporary, 'wx', 0o600);
  try {
    writeSync(file, `${randomBytes(KEY_BYTES).toString('hex')}\n`);
    fsyncSync(file);
    linkSync(temporary, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error; // another start of the server made it first
  } finally {
    closeSync(file);
    rmSync(temporary, { force: true });
  }
}

function parseKey(text: string, source: string): Buffer {
  const key = /^[0-9a-f]{64}$/i.test(text) ? Buffer.from(text, 'hex') : Buffer.from(text, 'base64');
  if (key.length === KEY_BYTES) return key;
  throw new SkerryError(
    'internal',
    `${source} must hold ${KEY_BYTES} bytes as 64 hexadecimal digits or base64, for example from \`openssl rand -hex 32\`.`,
  );
}

const associatedData = (context: string): Buffer => Buffer.from(`skerry-vault-${FORMAT}:${context}`);

const notOurs = (cause?: unknown): SkerryError =>
  new SkerryError(
    'internal',
    "A stored value cannot be decrypted: it was sealed with another key. Restore the data directory's vault.key or SKERRY_VAULT_KEY.",
    { cause },
  );
