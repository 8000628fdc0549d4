/** Whether systemd manages this machine, and the names of a server's units there. */
import { existsSync } from 'node:fs';

/** What `sd_booted(3)` looks at: it exists exactly when systemd is the machine's init. */
const BOOTED = '/run/systemd/system';

export const isSystemdBooted = (mark: string = BOOTED): boolean => existsSync(mark);

/** The service that `skerry install` makes. */
export const serviceUnit = (instance: string): string => `skerry-${instance}.service`;

/** The scope of a server that `skerry up` started: it outlives the login session that it was started from. */
export const serverScope = (instance: string): string => `skerry-${instance}-server.scope`;

/** The delegated unit that holds the cgroups of a server's sandboxes, whoever started the server. */
export const sandboxesUnit = (instance: string): string => `skerry-${instance}-sandboxes.service`;
