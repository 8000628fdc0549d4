/** What surrounds every handler: the effect happens once per idempotency key, errors are worded in one place, each call leaves one event in the log. */
import {
  create,
  type DescMethodClientStreaming,
  type DescMethodServerStreaming,
  type DescMethodUnary,
  type DescService,
} from '@bufbuild/protobuf';
import {
  Code,
  ConnectError,
  type HandlerContext,
  type MethodImpl,
  type ServiceImpl,
} from '@connectrpc/connect';
import { requireScope } from '../../../auth/scopes.ts';
import type { TokenStore } from '../../../auth/token-store.ts';
import type { CallListener } from '../../../telemetry/calls.ts';
import type { Logger } from '../../../telemetry/logger.ts';
import { type CallSpan, type Tracing, within } from '../../../telemetry/tracing.ts';
import { type SandboxCreateV2Response, SandboxCreateV2ResponseSchema } from '../gen/modal/sandboxes_pb.ts';
import { callKey, callOf } from './call.ts';
import { toConnectError } from './errors.ts';
import type { Idempotency } from './idempotency.ts';
import { idsIn } from './ids-in.ts';
import { neededScope } from './needed-scope.ts';

/** Control plane RPCs whose repetition would do something twice, or fail on what the first did. */
const oncePerKey: ReadonlySet<string> = new Set([
  'AppCreate',
  'ContainerExec',
  'ContainerFilesystemExec',
  'EnvironmentCreate',
  'ImageGetOrCreate',
  'ImagePublish',
  'SandboxContainerCreateV2',
  'SandboxCreate',
  'SandboxCreateV2',
  'SandboxSnapshot',
  'SandboxSnapshotFs',
  'SandboxStdinWrite',
  'SecretGetOrCreate',
]);

/** Control plane RPCs that make a sandbox. */
const creates: ReadonlySet<string> = new Set([
  'SandboxCreate',
  'SandboxCreateV2',
  'SandboxRestore',
  'SandboxRestoreV2',
]);

export interface Surroundings {
  readonly tokens: Pick<TokenStore, 'countCreates'>;
  readonly onCall?: CallListener | undefined;
  readonly tracing?: Tracing | undefined;
  readonly logger: Logger;
  readonly idempotency: Idempotency;
  /** Milliseconds, monotonic. */
  readonly clock: () => number;
  /** Called for an RPC of the schema without a handler; throws. */
  readonly onUnknown: (rpc: string) => never;
}

type AnyUnary = MethodImpl<DescMethodUnary>;
type AnyServerStreaming = MethodImpl<DescMethodServerStreaming>;
type AnyClientStreaming = MethodImpl<DescMethodClientStreaming>;

/** The service with every method surrounded; methods without a handler answer UNIMPLEMENTED. */
export function surround<Service extends DescService>(
  service: Service,
  handlers: Partial<ServiceImpl<Service>>,
  around: Surroundings,
): ServiceImpl<Service> {
  const result: Record<string, AnyUnary | AnyServerStreaming | AnyClientStreaming> = {};
  // A type cannot follow a name that is only known at run time; `methodKind` below tells which of the signatures it is.
  const byName = handlers as Record<string, unknown>;
  for (const method of service.methods) {
    const handler = byName[method.localName] ?? (() => around.onUnknown(method.name));
    switch (method.methodKind) {
      case 'unary':
        result[method.localName] = surroundUnary(method as DescMethodUnary, handler as AnyUnary, around);
        break;
      case 'server_streaming':
        result[method.localName] = surroundServerStreaming(
          method.name,
          handler as AnyServerStreaming,
          around,
        );
        break;
      case 'client_streaming':
        result[method.localName] = surroundClientStreaming(
          method.name,
          handler as AnyClientStreaming,
          around,
        );
        break;
      default:
        throw new TypeError(`${method.name} is bidirectional, which no RPC of the clients is`);
    }
  }
  return result as ServiceImpl<Service>;
}

function surroundUnary(method: DescMethodUnary, plain: AnyUnary, around: Surroundings): AnyUnary {
  const handler: AnyUnary = !creates.has(method.name)
    ? plain
    : (request, context) => {
        around.tokens.countCreates(callOf(context).identity.tokenId);
        return plain(request, context);
      };
  const once = oncePerKey.has(method.name);
  return (request, context) =>
    observed(method.name, request, context, around, async () => {
      authorize(method.name, request, context);
      if (!once) return await handler(request, context);
      return around.idempotency.once({
        principal: callOf(context).principal,
        method: method.name,
        key: context.requestHeader.get('x-idempotency-key') ?? undefined,
        output: method.output,
        run: async () => create(method.output, await handler(request, context)),
        ...(method.name === 'SandboxCreateV2' && { keep: withoutAccess as (response: unknown) => never }),
      });
    });
}

/** A repeat may come after the access token ran out; without one, clients ask for a fresh one. */
function withoutAccess(response: SandboxCreateV2Response): SandboxCreateV2Response {
  const { commandRouterAccess: _, ...rest } = response;
  return create(SandboxCreateV2ResponseSchema, rest);
}

/** @throws SkerryError `scope-missing` */
function authorize(rpc: string, request: object, context: HandlerContext): void {
  const { grant, identity } = callOf(context);
  // A sandbox was opened to those alone who may do everything in it.
  if (!grant) requireScope(identity, neededScope(rpc, request), rpc);
}

function surroundClientStreaming(
  rpc: string,
  handler: AnyClientStreaming,
  around: Surroundings,
): AnyClientStreaming {
  return (requests, context) => observed(rpc, {}, context, around, async () => handler(requests, context));
}

function surroundServerStreaming(
  rpc: string,
  handler: AnyServerStreaming,
  around: Surroundings,
): AnyServerStreaming {
  return async function* (request, context) {
    const begun = begin(context, around);
    // Stays so when the consumer stops asking: the client left.
    let outcome: Code | 'ok' = Code.Canceled;
    try {
      authorize(rpc, request, context);
      yield* handler(request, context);
      outcome = 'ok';
    } catch (error) {
      const connectError = toConnectError(error, rpc, context.signal, around.logger);
      outcome = connectError.code;
      throw connectError;
    } finally {
      report(rpc, [request], context, around, begun, outcome);
    }
  };
}

interface Begun {
  readonly startedAt: number;
  readonly span: CallSpan | undefined;
}

const begin = ({ requestHeader }: HandlerContext, { clock, tracing }: Surroundings): Begun => ({
  startedAt: clock(),
  span: tracing?.begin((name) => requestHeader.get(name) ?? undefined),
});

async function observed<T extends object>(
  rpc: string,
  request: object,
  context: HandlerContext,
  around: Surroundings,
  run: () => Promise<T>,
): Promise<T> {
  const begun = begin(context, around);
  let outcome: Code | 'ok' = 'ok';
  const messages = [request];
  try {
    const response = await within(begun.span, run);
    messages.push(response);
    return response;
  } catch (error) {
    const connectError = toConnectError(error, rpc, context.signal, around.logger);
    outcome = connectError.code;
    throw connectError;
  } finally {
    report(rpc, messages, context, around, begun, outcome);
  }
}

function report(
  rpc: string,
  messages: readonly object[],
  context: HandlerContext,
  around: Surroundings,
  { startedAt, span }: Begun,
  outcome: Code | 'ok',
): void {
  const call = context.values.get(callKey);
  const durationMs = around.clock() - startedAt;
  const status = outcome === 'ok' ? 'OK' : Code[outcome];
  around.onCall?.({
    api: call?.grant ? 'sandbox' : 'modal',
    ...{ method: rpc, status, durationMs },
    caller: call?.identity.tokenId,
    subjects: { ...(call?.grant && { sandboxId: call.grant.sandboxId }), ...idsIn(messages) },
    ...(span && { span }),
  });
  around.logger.debug(
    {
      rpc,
      outcome: status,
      durationMs: Math.round(durationMs * 1000) / 1000,
      client: call?.client,
      clientVersion: call?.clientVersion,
    },
    'rpc',
  );
}

/** The error of an RPC that Skerry does not have. */
export const unimplemented = (rpc: string): ConnectError =>
  new ConnectError(
    `Skerry does not implement ${rpc}. See docs/compatibility.md for what works.`,
    Code.Unimplemented,
  );
