/** The apps of a server: what sandboxes are grouped under. */
import * as z from 'zod/mini';
import { callControlPlane } from './control-plane.ts';
import type { ServerAccess } from './sandboxes/connection.ts';

/** Names of states, from the numbers of `AppState` in `proto/` that apps here have; JSON has them as the names of that. */
const stateSchema = z.pipe(
  z._default(z.string(), ''),
  z.transform((state) => state.replace(/^APP_STATE_/, '').toLowerCase()),
);

const appsSchema = z.object({
  apps: z._default(
    z.array(
      z.object({
        appId: z.string(),
        name: z._default(z.string(), ''),
        description: z._default(z.string(), ''),
        state: stateSchema,
        nRunningTasks: z._default(z.number(), 0),
        createdAt: z._default(z.number(), 0),
      }),
    ),
    [],
  ),
});
export type App = z.infer<typeof appsSchema>['apps'][number];

/** Newest first; stopped ones for a day. @throws CliError */
export const listApps = async (server: ServerAccess): Promise<readonly App[]> =>
  (await callControlPlane(server, 'AppList', {}, appsSchema)).apps;

/** By name or id; ends all its sandboxes. @throws CliError */
export async function stopApp(server: ServerAccess, appName: string): Promise<void> {
  const { appId } = await callControlPlane(
    server,
    'AppGetOrCreate',
    { appName },
    z.object({ appId: z.string() }),
  );
  await callControlPlane(server, 'AppStop', { appId }, z.object({}));
}
