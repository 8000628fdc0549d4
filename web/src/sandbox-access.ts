/** One sandbox by the SDK, as who is signed in. */
import { Sandbox } from '../../sdk/src/index.ts';
import { connection } from './session.ts';

export const sandboxOf = (id: string): Promise<Sandbox> => Sandbox.get(id, connection);

/** Where `/v1` has it. */
export const pathOf = (id: string): string => `/v1/sandboxes/${encodeURIComponent(id)}`;
