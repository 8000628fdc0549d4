/** The apps of a server: what sandboxes are grouped under. */
import { z } from 'zod';
import { callControlPlane } from './control-plane.ts';
import type { ServerAccess } from './sandboxes/connection.ts';

/** Names of states, from the numbers of `AppState` in `proto/` that apps here have; JSON has them as the names of that. */
const stateSchema = z
  .string()
  .default('')
  .transform((state) => state.replace(/^APP_STATE_/, '').toLowerCase());

const appsSchema = z.object({
  apps: z
    .array(
      z.object({
        appId: z.string(),
        name: z.string().default(''),
        description: z.string().default(''),
        state: stateSchema,
        nRunningTasks: z.number().default(0),
        createdAt: z.number().default(0),
      }),
    )
    .default([]),
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
