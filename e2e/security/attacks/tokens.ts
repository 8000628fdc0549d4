/** Attempts to use the API, or a sandbox, without the token for it. */

import {
  TaskExecStderrConfig,
  TaskExecStdoutConfig,
} from '../../../server/src/api/modal/gen/modal/task_command_router_pb.ts';
import type { Authenticators } from '../../../server/src/api/modal/rpc/call.ts';
import {
  controlPlane,
  router,
  runningSandbox,
  sandbox,
} from '../../../server/src/api/modal/testing/clients.ts';
import {
  type ServedApi,
  type ServedApiOptions,
  serveApi,
} from '../../../server/src/api/modal/testing/served-api.ts';
import { AccessTokens, type RouterGrant } from '../../../server/src/auth/access-tokens.ts';
import type { ServerAttack } from '../support/server-attack.ts';

/** Believes whatever stands in a token. */
class Believing extends AccessTokens {
  override async verifyRouter(token: string): Promise<RouterGrant> {
    const { sub, task, tokenId } = JSON.parse(
      Buffer.from(token.split('.')[1] ?? '', 'base64url').toString('utf8'),
    );
    return { sandboxId: sub, taskId: task, tokenId };
  }
}

const believing = ({ tokens }: Authenticators): Authenticators => ({
  tokens,
  accessTokens: new Believing(tokens.signingKey, Date.now),
});

/** Whoever calls is the owner. */
const trusting = ({ tokens, accessTokens }: Authenticators): Authenticators => ({
  tokens: Object.create(tokens, { verify: { value: () => tokens.identityOf(tokens.tokenId) } }),
  accessTokens,
});

const attack = (
  name: string,
  says: RegExp,
  by: string,
  authentication: NonNullable<ServedApiOptions['authentication']>,
  attempt: (served: ServedApi) => Promise<string>,
  options: ServedApiOptions = {},
): ServerAttack => ({
  ...{ name, threat: 'control plane', says, by },
  attempt: async (checked) => {
    await using served = await serveApi({ ...options, ...(!checked && { authentication }) });
    return await attempt(served);
  },
});

/** Runs a program in the sandbox of a task with a token. */
async function exec(served: ServedApi, taskId: string, jwt: string): Promise<string> {
  const execId = 'attack';
  await router(served, jwt).taskExecStart({
    ...{ taskId, execId, commandArgs: ['true'] },
    stdoutConfig: TaskExecStdoutConfig.PIPE,
    stderrConfig: TaskExecStderrConfig.PIPE,
  });
  return 'it ran a program there';
}

async function tokenOf(served: ServedApi, sandboxId: string): Promise<readonly [string, string, string]> {
  const target = { case: 'sandboxId', value: sandboxId } as const;
  const { jwt } = await controlPlane(served).sandboxGetCommandRouterAccess({ target });
  const [header = '', payload = '', signature = ''] = jwt.split('.');
  return [header, payload, signature];
}

/** Of busybox, which is in every test's image. */
const PORT = 5000;
const SERVING = ['httpd', '-f', '-p', `127.0.0.1:${PORT}`, '-h', '/data'];

const encoded = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');

export const tokenAttacks: readonly ServerAttack[] = [
  attack(
    'call the API without a token',
    /^Unauthenticated/,
    'every call must carry one',
    trusting,
    (served) =>
      controlPlane(served, {})
        .environmentList({})
        .then(() => 'it was answered'),
  ),
  attack(
    'call the API with a guessed secret',
    /^Unauthenticated/,
    'the secret is compared with the hash of the right one',
    trusting,
    (served) =>
      controlPlane(served, { ...served.credentials, 'x-modal-token-secret': `as-${'0'.repeat(64)}` })
        .environmentList({})
        .then(() => 'it was answered'),
  ),
  attack(
    'run a program with a token without a signature',
    /^Unauthenticated/,
    'one algorithm is taken, and it signs',
    believing,
    async (served) => {
      const { created, made } = await sandbox(served);
      const [, payload] = await tokenOf(served, made.id);
      return exec(served, created.taskId, `${encoded({ alg: 'none', typ: 'JWT' })}.${payload}.`);
    },
  ),
  attack(
    'run a program in a sandbox by a token whose claims were changed',
    /^Unauthenticated/,
    'the signature covers the claims',
    believing,
    async (served) => {
      const own = await sandbox(served);
      const other = await sandbox(served);
      const [header, payload, signature] = await tokenOf(served, own.made.id);
      const claims = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'));
      const changed = encoded({ ...claims, sub: other.made.id, task: other.created.taskId });
      return exec(served, other.created.taskId, `${header}.${changed}.${signature}`);
    },
  ),
  {
    name: 'run a program with the token of a sandbox that was terminated',
    threat: 'control plane',
    says: /^(NotFound|FailedPrecondition)/,
    by: 'what has ended runs nothing more, whoever asks',
    attempt: async (checked) => {
      await using served = await serveApi();
      const { created, made, client } = await runningSandbox(served);
      const jwt = (await tokenOf(served, made.id)).join('.');
      if (checked) {
        await client.sandboxTerminate({ sandboxId: made.id });
        await client.sandboxWait({ sandboxId: made.id, timeout: 60 });
      }
      return await exec(served, created.taskId, jwt);
    },
  },
  {
    name: 'reach a port by the connect token of a sandbox that was terminated',
    threat: 'control plane',
    says: /fetch failed|ECONNREFUSED/,
    by: 'the address that it is for ends with the sandbox',
    attempt: async (checked) => {
      await using served = await serveApi();
      const { made, client } = await runningSandbox(served, { entrypointArgs: SERVING });
      const { url, token } = await client.sandboxCreateConnectToken({ sandboxId: made.id, port: PORT });
      if (checked) {
        await client.sandboxTerminate({ sandboxId: made.id });
        await client.sandboxWait({ sandboxId: made.id, timeout: 60 });
      }
      const answer = await fetch(url, { headers: { authorization: `Bearer ${token}` } });
      return `it was let in: ${answer.status}`; // nobody listens there, which the gateway says
    },
  },
  {
    name: 'run a program with the token of another sandbox',
    threat: 'control plane',
    says: /^PermissionDenied/,
    by: 'a token names the one sandbox that it opens',
    attempt: async (checked) => {
      let victim: RouterGrant | undefined;
      const confusing = ({ tokens, accessTokens }: Authenticators): Authenticators => {
        const verifyRouter = async (token: string) => victim ?? accessTokens.verifyRouter(token);
        return {
          tokens,
          accessTokens: Object.assign(new AccessTokens(tokens.signingKey, Date.now), { verifyRouter }),
        };
      };
      await using served = await serveApi(checked ? {} : { authentication: confusing });
      const own = await sandbox(served);
      const other = await sandbox(served);
      const { taskId } = other.made;
      victim = { sandboxId: other.made.id, taskId, tokenId: undefined };
      return await exec(served, taskId, (await tokenOf(served, own.made.id)).join('.'));
    },
  },
];
