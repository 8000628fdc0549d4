/** The official JavaScript client of a server that the bench has started. */
import { ModalClient } from 'modal';

/** The caller closes it. */
export function modalClient(server: {
  readonly url: string;
  readonly token: { readonly tokenId: string; readonly tokenSecret: string };
}): ModalClient {
  process.env.MODAL_SERVER_URL = server.url; // this client takes its server from nowhere else
  const { tokenId, tokenSecret } = server.token;
  return new ModalClient({ tokenId, tokenSecret });
}
