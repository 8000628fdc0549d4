/** Secrets: environment variables by name, which the server keeps encrypted and never tells. */
import { type ConnectionOptions, connect } from './connection.ts';
import { eachPage } from './core/http.ts';
import type { SecretInfo, SecretPage } from './gen/types.ts';
import type { Options } from './process.ts';

/** The stored secrets of a Skerry server. `Sandbox.create({ secrets: ['name'] })` gives a sandbox the variables of one. */
export const secrets = {
  /** Stores variables under a name, in the place of those that it has. */
  async put(
    name: string,
    env: Readonly<Record<string, string>>,
    options: ConnectionOptions & Options = {},
  ): Promise<SecretInfo> {
    const { signal, ...connection } = options;
    return connect(connection).call('PUT', secretPath(name), { json: { env }, repeatable: true, signal });
  },

  /** All of them, newest first: names of variables, never values. */
  async *list(options: ConnectionOptions & Options = {}): AsyncGenerator<SecretInfo, void> {
    const { signal, ...connection } = options;
    const pages = eachPage<SecretPage>(connect(connection), '/v1/secrets', { signal });
    for await (const page of pages) yield* page.secrets;
  },

  /** Forgets one. Sandboxes that were made with it keep what they have. @throws NotFoundError */
  async delete(name: string, options: ConnectionOptions & Options = {}): Promise<void> {
    const { signal, ...connection } = options;
    await connect(connection).call('DELETE', secretPath(name), { signal });
  },
};

const secretPath = (name: string) => `/v1/secrets/${encodeURIComponent(name)}`;
