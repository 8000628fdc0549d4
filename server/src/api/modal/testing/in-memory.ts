/** A typed client of handlers in this process: errors are worded as on a real port, but nothing listens and nobody is authenticated. */
import { createClient, createRouterTransport, type Interceptor } from '@connectrpc/connect';
import { createLogger } from '../../../telemetry/logger.ts';
import { ModalClient } from '../gen/modal/service_pb.ts';
import { type Call, callKey } from '../rpc/call.ts';
import { surround, unimplemented } from '../rpc/calls.ts';
import { Idempotency, type KeptAnswers } from '../rpc/idempotency.ts';
import type { ModalHandlers } from '../rpc/service.ts';

/** A call of the newest Python client. */
export const pythonCall: Call = {
  principal: 'test',
  identity: { tokenId: 'test', scope: 'sandboxes' },
  grant: undefined,
  client: 'python',
  clientVersion: '1.6.4',
  authority: 'localhost',
  encrypted: false,
};

export function inMemoryClient(handlers: ModalHandlers, answers: KeptAnswers, call: Call = pythonCall) {
  const service = surround(ModalClient, handlers, {
    logger: createLogger('silent'),
    idempotency: new Idempotency(answers, Date.now),
    tokens: { countCreates: () => {} },
    clock: () => performance.now(),
    onUnknown: (rpc) => {
      throw unimplemented(rpc);
    },
  });
  const withCall: Interceptor = (next) => (request) => {
    request.contextValues.set(callKey, call);
    return next(request);
  };
  const router = { interceptors: [withCall] };
  return createClient(
    ModalClient,
    createRouterTransport((routes) => routes.service(ModalClient, service), { router }),
  );
}
