/** How programs of all kinds are told to trust the extra CA certificates. */
import { GUEST_CA_BUNDLE } from './paths.ts';

/**
 * Environment variables for every process of a sandbox when extra CA certificates are configured: what OpenSSL, curl, git, pip, requests, Node, AWS
 * tools, gRPC, Cargo and Go (SSL_CERT_FILE) read.
 */
export const caEnvironment = (): Record<string, string> =>
  Object.fromEntries(
    [
      'SSL_CERT_FILE',
      'CURL_CA_BUNDLE',
      'GIT_SSL_CAINFO',
      'PIP_CERT',
      'REQUESTS_CA_BUNDLE',
      'NODE_EXTRA_CA_CERTS',
      'AWS_CA_BUNDLE',
      'CARGO_HTTP_CAINFO',
      'GRPC_DEFAULT_SSL_ROOTS_FILE_PATH',
      'NIX_SSL_CERT_FILE',
    ].map((name) => [name, GUEST_CA_BUNDLE]),
  );
