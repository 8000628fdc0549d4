/** From the wire's `Image` message to what the builder builds. Facts: docs/protocol/images-and-mounts.md, sections 1 and 3. */

import type { BlobStore, Mounts } from '../../../blobs/blobs.ts';
import { SkerryError } from '../../../errors/skerry-error.ts';
import type { ImageId, MountId, SecretId } from '../../../ids.ts';
import { isAwsRegion } from '../../../images/bases/ecr.ts';
import type { ContextFile, ImageDefinition, RegistryCredentials } from '../../../images/image.ts';
import { standalonePythonOf } from '../../../images/packages/standalone-python.ts';
import { clip } from '../../../platform/text.ts';
import type { Secrets } from '../../../secrets/secrets.ts';
import type { VolumeMountSpec } from '../../../volumes/volume-mount-specs.ts';
import type { VolumeMounts } from '../../../volumes/volume-mounts.ts';
import { Arch, RegistryAuthType } from '../gen/modal/common_pb.ts';
import type { Image, ImageGetOrCreateRequest, ImageRegistryConfig } from '../gen/modal/images_pb.ts';
import { volumeMounts } from '../rpc/volume-mounts.ts';

export interface ImageDefinitionDeps {
  readonly secrets: Pick<Secrets, 'resolve' | 'fingerprintEphemeral'>;
  readonly mounts: Pick<Mounts, 'files'>;
  readonly blobs: Pick<BlobStore, 'path'>;
  readonly volumeMounts: Pick<VolumeMounts, 'check'>;
}

/** Characters of all Dockerfile lines together. */
const MAX_DOCKERFILE = 1024 * 1024;
/** Bytes of all inline context files together. */
const MAX_INLINE_CONTEXT = 64 * 1024 * 1024;
const MAX_BASE_IMAGES = 64;
const DEFAULT_MODE = 0o644;
const builderVersionPattern = /^[A-Za-z0-9.]{1,16}$/;

/**
 * @param fallbackBuilderVersion where the request names none
 * @throws SkerryError `invalid-argument`, `too-large`, `unimplemented`, `not-found` (secret, mount, volume)
 */
export function toImageDefinition(
  request: ImageGetOrCreateRequest,
  fallbackBuilderVersion: string,
  deps: ImageDefinitionDeps,
): ImageDefinition {
  const { image } = request;
  if (!image) throw new SkerryError('invalid-argument', 'The request has no image.');
  refuseUnsupported(image);
  const secretIds = image.secretIds as SecretId[]; // resolving rejects what is no id
  const builderVersion = request.builderVersion || fallbackBuilderVersion;
  if (!builderVersionPattern.test(builderVersion)) {
    throw new SkerryError('invalid-argument', `Invalid image builder version '${clip(builderVersion)}'.`);
  }
  return {
    dockerfileLines: boundedLines(image.dockerfileCommands),
    baseImages: baseImages(image),
    contextFiles: [...inlineFiles(image), ...mountedFiles(image.contextMountId, deps)],
    standalonePython: standalonePythonOf(image.contextMountId),
    buildArgs: { ...image.buildArgs },
    secretEnv: deps.secrets.resolve(secretIds.map((id) => ({ kind: 'stored', id }))),
    // `env=` of a method comes as one: it is written where the image is defined, and another value of it is another definition.
    secretFingerprint: deps.secrets.fingerprintEphemeral(secretIds),
    volumes: volumes(image, deps),
    registryCredentials: registryCredentials(image.imageRegistryConfig, deps.secrets),
    builderVersion,
    forceBuild: request.forceBuild,
    ignoreCache: request.ignoreCache,
  };
}

function refuseUnsupported(image: Image): void {
  const unsupported = (message: string) => new SkerryError('unimplemented', message);
  if (image.buildFunction !== undefined || image.buildFunctionDef !== '') {
    throw unsupported(
      'Image.run_function is not supported: use run_commands, or add_local_file(..., copy=True) and run_commands("python ...").',
    );
  }
  const gpu = image.gpuConfig; // present and empty without a GPU
  if (gpu && (gpu.type !== 0 || gpu.count !== 0 || gpu.gpuType !== '')) {
    throw unsupported('Image builds with a GPU are not supported: remove gpu=... from the image.');
  }
  const machine = process.arch === 'arm64' ? Arch.AARCH64 : Arch.X86_64;
  if (image.arch !== Arch.UNSPECIFIED && image.arch !== machine) {
    throw unsupported(`This machine builds images for ${process.arch} only.`);
  }
}

function volumes(image: Image, deps: ImageDefinitionDeps): readonly VolumeMountSpec[] {
  const specs = volumeMounts(image.volumeMounts);
  deps.volumeMounts.check(specs);
  return specs;
}

function boundedLines(lines: readonly string[]): readonly string[] {
  const length = lines.reduce((sum, line) => sum + line.length + 1, 0);
  if (length > MAX_DOCKERFILE) {
    throw new SkerryError(
      'too-large',
      `The Dockerfile has ${length} characters; at most ${MAX_DOCKERFILE} are allowed.`,
    );
  }
  return [...lines];
}

function baseImages(image: Image): ReadonlyMap<string, ImageId> {
  if (image.baseImages.length > MAX_BASE_IMAGES) {
    throw new SkerryError('too-large', `An image may have at most ${MAX_BASE_IMAGES} base images.`);
  }
  // The builder rejects ids it does not know.
  return new Map(image.baseImages.map(({ dockerTag, imageId }) => [dockerTag, imageId as ImageId]));
}

function inlineFiles(image: Image): readonly ContextFile[] {
  const size = image.contextFiles.reduce((sum, { data }) => sum + data.length, 0);
  if (size > MAX_INLINE_CONTEXT) {
    throw new SkerryError(
      'too-large',
      `The context files have ${size} bytes; at most ${MAX_INLINE_CONTEXT} are allowed.`,
    );
  }
  return image.contextFiles.map(({ filename, data }) => {
    const names = filename.split('/');
    if (filename === '' || filename.includes('\0') || names.includes('..')) {
      throw new SkerryError('invalid-argument', `Invalid context file name '${clip(filename)}'.`);
    }
    return { path: filename, content: { bytes: data }, mode: DEFAULT_MODE };
  });
}

function mountedFiles(mountId: string, deps: ImageDefinitionDeps): readonly ContextFile[] {
  if (mountId === '' || standalonePythonOf(mountId)) return [];
  // Looking a mount up rejects what is no id; its paths were checked when it was made.
  return deps.mounts.files(mountId as MountId).map(({ path, sha256Hex, mode }) => ({
    path,
    content: { file: deps.blobs.path(sha256Hex) },
    mode,
  }));
}

function registryCredentials(
  config: ImageRegistryConfig | undefined,
  secrets: Pick<Secrets, 'resolve'>,
): RegistryCredentials | undefined {
  if (!config || config.secretId === '') return undefined;
  const env = secrets.resolve([{ kind: 'stored', id: config.secretId as SecretId }]);
  const value = (key: string): string => {
    const text = env[key];
    if (text === undefined || text === '') {
      throw new SkerryError('invalid-argument', `The registry secret has no ${key}.`);
    }
    return text;
  };
  switch (config.registryAuthType) {
    case RegistryAuthType.UNSPECIFIED:
    case RegistryAuthType.PUBLIC:
      return undefined;
    case RegistryAuthType.STATIC_CREDS:
      return { username: value('REGISTRY_USERNAME'), password: value('REGISTRY_PASSWORD') };
    case RegistryAuthType.GCP:
      // Google's registries take a service account's key file as password of this user.
      return { username: '_json_key', password: value('SERVICE_ACCOUNT_JSON') };
    case RegistryAuthType.AWS:
      return awsKey(env, value);
    default:
      throw new SkerryError('invalid-argument', `Unknown registry_auth_type ${config.registryAuthType}.`);
  }
}

function awsKey(env: Readonly<Record<string, string>>, value: (key: string) => string): RegistryCredentials {
  if (env.AWS_ROLE_ARN) {
    throw new SkerryError(
      'unimplemented',
      'A role of AWS (AWS_ROLE_ARN) cannot be taken on here: the registry secret needs AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION.',
    );
  }
  const region = value('AWS_REGION');
  if (!isAwsRegion(region)) {
    throw new SkerryError(
      'invalid-argument',
      `The registry secret's AWS_REGION is none: ${clip(region)}. It is like eu-west-1.`,
    );
  }
  return {
    accessKeyId: value('AWS_ACCESS_KEY_ID'),
    secretAccessKey: value('AWS_SECRET_ACCESS_KEY'),
    ...(env.AWS_SESSION_TOKEN && { sessionToken: env.AWS_SESSION_TOKEN }),
    region,
  };
}
