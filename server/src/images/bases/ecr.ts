/**
 * The password of registries of AWS, which is had for a key of AWS and lasts twelve hours.
 * https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html
 */
import { AwsV4Signer } from 'aws4fetch';
import { z } from 'zod';
import { clip } from '../../platform/text.ts';
import type { AwsKey, RegistryLogin } from '../image.ts';
import type { RegistryFailure } from './registry-failure.ts';

/** Private ones, also those that must be FIPS or are asked over IPv6. */
const HOST =
  /^\d{12}\.dkr[.-]ecr(-fips)?\.[a-z0-9-]+\.(amazonaws\.com(\.cn)?|on\.(aws|amazonwebservices\.com\.cn))$/;
const MAX_ANSWER = 64 << 10;
const answers = z.object({ authorizationData: z.tuple([z.object({ authorizationToken: z.string() })]) });
const refusals = z.object({ __type: z.string().optional(), message: z.string().optional() });

export const isEcr = (registry: string): boolean => HOST.test(registry);

/** Such as `eu-west-1`; it becomes part of a host's name. */
export const isAwsRegion = (text: string): boolean => /^[a-z]{2,4}(-[a-z]{2,16}){1,3}-\d{1,2}$/.test(text);

/** @param endpoint of the API, instead of the region's own @returns the login, or why there is none */
export async function ecrLogin(
  key: AwsKey,
  endpoint: string | undefined,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<RegistryLogin | RegistryFailure> {
  const { region } = key;
  const url = endpoint || `https://api.ecr.${region}.amazonaws.com${region.startsWith('cn-') ? '.cn' : ''}/`;
  let response: Response;
  let text: string;
  try {
    const signer = new AwsV4Signer({
      ...key,
      ...{ url, service: 'ecr', method: 'POST', body: '{}' },
      headers: {
        'content-type': 'application/x-amz-json-1.1',
        'x-amz-target': 'AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken',
      },
    });
    const { headers, method, body } = await signer.sign();
    const within = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
    response = await fetch(url, { method, headers, body, redirect: 'error', signal: within });
    text = await bounded(response);
  } catch (error) {
    signal.throwIfAborted();
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    const why = cause instanceof Error ? cause.message : String(cause);
    return { answered: false, message: `AWS cannot be reached for its password: ${why}` };
  }
  if (!response.ok) {
    const refusal = refusals.safeParse(parsed(text)).data;
    const why = refusal?.message ?? refusal?.__type ?? `HTTP status ${response.status}`;
    return { answered: response.status < 500, message: `AWS gives no password for it: ${clip(why)}` };
  }
  const token = answers.safeParse(parsed(text)).data?.authorizationData[0].authorizationToken ?? '';
  const [, username, password] = /^([^:]+):(.+)$/s.exec(Buffer.from(token, 'base64').toString()) ?? [];
  if (username === undefined || password === undefined)
    return { answered: true, message: 'AWS gives no password for it: its answer has none' };
  return { username, password };
}

async function bounded(response: Response): Promise<string> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of response.body ?? []) {
    length += piece.length;
    if (length > MAX_ANSWER) throw new Error('it answers with too much');
    pieces.push(piece);
  }
  return Buffer.concat(pieces).toString();
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
