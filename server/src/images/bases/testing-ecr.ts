/** AWS as far as it gives passwords for registries, for tests: it checks the signature by itself. */
import { createHash, createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import { buffer } from 'node:stream/consumers';
import type { AwsKey } from '../image.ts';

export interface TestEcr extends AsyncDisposable {
  readonly endpoint: string;
}

/** Gives `password` for the key. */
export async function startEcr(key: AwsKey, password: string): Promise<TestEcr> {
  const server = createServer(async (request, response) => {
    const body = await buffer(request);
    const answer = (status: number, value: object) =>
      response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1' }).end(JSON.stringify(value));
    const target = request.headers['x-amz-target'];
    if (target !== 'AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken' || `${body}` !== '{}')
      return answer(400, { __type: 'InvalidAction' });
    if (request.headers.authorization !== signature(request, body, key))
      return answer(400, { __type: 'Unrecognized', message: 'The security token included is invalid.' });
    const authorizationToken = Buffer.from(`AWS:${password}`).toString('base64');
    return answer(200, { authorizationData: [{ authorizationToken, expiresAt: 0, proxyEndpoint: '' }] });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('it has no port');
  return {
    endpoint: `http://127.0.0.1:${address.port}/`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const sha256 = (data: string | Buffer) => createHash('sha256').update(data).digest('hex');
const hmac = (key: string | Buffer, data: string) => createHmac('sha256', key).update(data).digest();

/** The header that the request must have: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html */
function signature({ headers }: IncomingMessage, body: Buffer, key: AwsKey): string {
  const time = String(headers['x-amz-date']);
  const scope = `${time.slice(0, 8)}/${key.region}/ecr/aws4_request`;
  const [, names = ''] = /SignedHeaders=([a-z0-9;-]+)/.exec(headers.authorization ?? '') ?? [];
  const signed = names.split(';');
  for (const name of [
    'host',
    'x-amz-date',
    'x-amz-target',
    ...(key.sessionToken ? ['x-amz-security-token'] : []),
  ])
    if (!signed.includes(name)) return 'unsigned';
  if (headers['x-amz-security-token'] !== key.sessionToken) return 'another session';
  const lines = signed.map((name) => `${name}:${String(headers[name]).trim()}\n`).join('');
  const canonical = `POST\n/\n\n${lines}\n${names}\n${sha256(body)}`;
  const text = `AWS4-HMAC-SHA256\n${time}\n${scope}\n${sha256(canonical)}`;
  const derived = scope
    .split('/')
    .reduce<string | Buffer>((by, part) => hmac(by, part), `AWS4${key.secretAccessKey}`);
  const credential = `Credential=${key.accessKeyId}/${scope}`;
  return `AWS4-HMAC-SHA256 ${credential}, SignedHeaders=${names}, Signature=${hmac(derived, text).toString('hex')}`;
}
