/** What images are made of and come from, found or not: what `skerry doctor` and the dashboard say beside what the engine needs. */
import { existsSync } from 'node:fs';
import type { Config } from '../config/config.ts';
import type { EngineCheck } from '../engines/engine.ts';
import { findProgram } from '../platform/find-program.ts';

const MIRROR_TIMEOUT_MS = 10_000;

/** One check per thing; none throws, and they run at the same time. */
export const checkImageSources = (
  config: Pick<Config, 'debianMirror' | 'extraCaFile'>,
): Promise<EngineCheck[]> =>
  Promise.all([
    program('skopeo', 'images from registries'),
    program('mmdebstrap', 'Debian images without a registry'),
    debianMirror(config.debianMirror),
    extraCa(config.extraCaFile),
  ]);

/** What base images come from, one way or the other; the engine itself does not need them. */
function program(name: string, purpose: string): EngineCheck {
  const path = findProgram(name);
  return {
    name,
    ok: path !== undefined,
    required: false,
    found: path ?? 'not found',
    remedy: `apt-get install -y ${name} (${purpose})`,
  };
}

async function debianMirror(mirror: string): Promise<EngineCheck> {
  const base = {
    name: 'Debian mirror',
    required: false,
    remedy:
      'Without it and without an image registry no base image can be made: check the network, or set --debian-mirror.',
  };
  try {
    const response = await fetch(`${mirror}/dists/stable/Release`, {
      method: 'HEAD',
      signal: AbortSignal.timeout(MIRROR_TIMEOUT_MS),
    });
    return { ...base, ok: response.ok, found: response.ok ? 'reachable' : `answers ${response.status}` };
  } catch (error) {
    const why =
      error instanceof Error ? (error.cause instanceof Error ? error.cause.message : error.message) : error;
    return { ...base, ok: false, found: `not reachable: ${why}` };
  }
}

function extraCa(file: string): EngineCheck {
  const ok = file === '' || existsSync(file);
  return {
    name: 'extra CA file',
    ok,
    required: true,
    found: file === '' ? 'none configured' : ok ? file : `${file} does not exist`,
    remedy: 'Set --extra-ca-file to an existing PEM file, or leave it out.',
  };
}
