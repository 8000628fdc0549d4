/** What a caller wants, validated, made into the definition of a sandbox. */
import type { Apps } from '../../apps/apps.ts';
import { checkTags } from '../../apps/names.ts';
import { SkerryError } from '../../errors/skerry-error.ts';
import type { EnvironmentId } from '../../ids.ts';
import type { ImageResolver } from '../../images/image-resolver.ts';
import { ANY_GPU, gpuType, type SandboxSpec } from '../../sandboxes/spec.ts';
import type { SecretSource, Secrets } from '../../secrets/secrets.ts';
import type { Volumes } from '../../volumes/volumes.ts';
import { networkPolicy, openPorts, secretHeaderSpecs, volumeRequests } from '../http/sandbox-fields.ts';
import type { SandboxCreate } from './schemas.ts';

/** Where what a definition names is looked up. */
export interface SandboxSpecParts {
  readonly apps: Pick<Apps, 'lookup'>;
  readonly images: Pick<ImageResolver, 'resolve'>;
  readonly volumes: Pick<Volumes, 'create'>;
  readonly secrets: Pick<Secrets, 'lookup'>;
}

/** @throws SkerryError `not-found` (image, secret), `unavailable` while its image is being made */
export async function toSandboxSpec(
  parts: SandboxSpecParts,
  request: SandboxCreate,
  signal: AbortSignal,
): Promise<SandboxSpec> {
  checkTags(request.tags);
  const { id: imageId } = await parts.images.resolve(request.image, signal).catch(inOurWords);
  const app = parts.apps.lookup('', request.app, true);
  const {
    command,
    cpu = 0,
    memoryMiB = 0,
    inboundCidrs,
    idleTimeoutSeconds,
    idleAction,
    secretHeaders,
    gpu,
  } = request;
  const milliCpu = Math.round(cpu * 1000);
  const ports = openPorts(request.ports);
  return {
    appId: app.id,
    environmentId: app.environmentId,
    imageId,
    name: request.name,
    tags: request.tags,
    args: command ?? [],
    ...(command === undefined && { noEntrypoint: true }),
    secretSources: secretSources(parts.secrets, app.environmentId, request),
    workdir: request.workdir,
    timeoutMs: request.timeoutSeconds * 1000,
    idleTimeoutMs: idleTimeoutSeconds === undefined ? undefined : idleTimeoutSeconds * 1000,
    ...(idleAction && { idleAction }),
    resources: { memoryMiB, memoryLimitMiB: memoryMiB, milliCpu, milliCpuLimit: milliCpu },
    network: networkPolicy(request.network),
    ...(secretHeaders && { secretHeaders: secretHeaderSpecs(secretHeaders) }),
    runtime: request.isolation,
    ...(gpu && { gpu: { type: gpuType(gpu.type) ?? ANY_GPU, count: gpu.count } }),
    pty: request.pty,
    verbose: false,
    readinessProbe: undefined,
    mountIds: [],
    volumes: volumeRequests(request.volumes).map(({ name, ...mount }) => ({
      volumeId: parts.volumes.create(app.environmentId, name, 2, 'keep').id,
      ...mount,
    })),
    ...(ports.length > 0 && { openPorts: ports }),
    ...(inboundCidrs.length > 0 && { inboundCidrs }),
    externalKey: undefined,
  };
}

/** The resolver names the field of the other interface. */
function inOurWords(error: unknown): never {
  if (!(error instanceof SkerryError) || error.details.path !== 'imageId') throw error;
  throw new SkerryError(error.code, error.message, { cause: error, details: { path: 'image' } });
}

/** The caller's own variables win. @throws SkerryError `not-found` */
export function secretSources(
  secrets: Pick<Secrets, 'lookup'>,
  environmentId: EnvironmentId,
  { secrets: names, env }: Pick<SandboxCreate, 'secrets' | 'env'>,
): readonly SecretSource[] {
  const stored = names.map((name) => ({
    kind: 'stored' as const,
    id: secrets.lookup(environmentId, name, []).id,
  }));
  return [...stored, { kind: 'inline', env }];
}
