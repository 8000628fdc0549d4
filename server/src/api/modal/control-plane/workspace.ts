/** Who the caller is, and small courtesies of the command line. Facts: docs/protocol/control-plane.md, sections 2 and 6. */
import type { ServiceImpl } from '@connectrpc/connect';
import { builderVersionFor, DEFAULT_BUILDER_VERSION } from '../../../apps/builder-version.ts';
import type { ModalClient } from '../gen/modal/service_pb.ts';

/** The one workspace of a Skerry server; clients show it as the profile's name. */
export const WORKSPACE_NAME = 'skerry';

export function workspaceHandlers(): Partial<ServiceImpl<typeof ModalClient>> {
  return {
    // Python 0.64 had the image builder version of its workspace from here; later ones ask for an environment's.
    clientHello: (_request, { requestHeader }) => ({
      imageBuilderVersion: builderVersionFor(
        DEFAULT_BUILDER_VERSION,
        requestHeader.get('x-modal-client-version') ?? '',
      ),
    }),
    workspaceNameLookup: () => ({ workspaceName: WORKSPACE_NAME, username: WORKSPACE_NAME }),
    tokenInfoGet: (_request, context) => ({
      tokenId: context.requestHeader.get('x-modal-token-id') ?? '',
      workspaceId: WORKSPACE_NAME,
      workspaceName: WORKSPACE_NAME,
    }),
    cliCommandSuggest: () => ({}),
    objectSuggest: () => ({}),
  };
}
