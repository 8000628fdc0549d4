/** A certificate of a test's own. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Certificate, loadCertificate } from '../certificate.ts';

/** Nothing of it stays on the disk. */
export async function makeCertificate(): Promise<Certificate> {
  const dataDir = await mkdtemp(join(tmpdir(), 'skerry-tls-'));
  try {
    return await loadCertificate({ dataDir, certFile: '', keyFile: '', names: [], now: Date.now });
  } finally {
    await rm(dataDir, { recursive: true, force: true });
  }
}
