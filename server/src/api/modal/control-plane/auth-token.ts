/** `AuthTokenGet`: the token the clients insist on having before they call anything else. */
import type { ServiceImpl } from '@connectrpc/connect';
import type { AccessTokens } from '../../../auth/access-tokens.ts';
import type { ModalClient } from '../gen/modal/service_pb.ts';
import { callOf } from '../rpc/call.ts';

export interface AuthHandlerDeps {
  readonly accessTokens: AccessTokens;
}

export function authHandlers({ accessTokens }: AuthHandlerDeps): Partial<ServiceImpl<typeof ModalClient>> {
  return {
    authTokenGet: async (_request, context) => ({
      token: await accessTokens.forCaller(callOf(context).principal),
    }),
  };
}
