/** A listening socket from whoever started this process, handed over as systemd does it: `sd_listen_fds(3)`. */

/** `SD_LISTEN_FDS_START` */
export const FIRST_FD = 3;

/** The descriptor of the first socket handed over to this process, or undefined when there is none. */
export function inheritedSocket(
  env: Readonly<Record<string, string | undefined>>,
  pid: number,
): number | undefined {
  const count = Number(env.LISTEN_FDS);
  if (!Number.isInteger(count) || count < 1) return undefined;
  // systemd names the process it means; the supervisor, whose child this is, does not.
  if (env.LISTEN_PID !== undefined && Number(env.LISTEN_PID) !== pid) return undefined;
  return FIRST_FD;
}
