/** Places inside every sandbox that the server mounts; the skeleton layer under each image has them as empty mount points. */

/** Read-only directory with the agent binary under the names it answers to. The first is fixed by the official clients. */
export const GUEST_BIN_DIR = '/__modal/.bin';
export const GUEST_AGENT = `${GUEST_BIN_DIR}/skerry-agent`;
/** The official clients run all file operations through this path (`docs/protocol/filesystem-tools.md`). */
export const GUEST_FS_TOOLS = `${GUEST_BIN_DIR}/modal-sandbox-fs-tools`;
/** Read-only directory with the server's socket for this sandbox. */
export const GUEST_RUN_DIR = '/__modal/.run';
export const GUEST_AGENT_SOCKET = `${GUEST_RUN_DIR}/agent.sock`;
/** Where a kernel that is the sandbox's own finds what is mounted into it while it runs: empty directories named 0, 1, … */
export const GUEST_MOUNTS_DIR = '/__modal/.mounts';
/** Extra CA certificates, when configured: the machine's bundle including them. */
export const GUEST_CA_BUNDLE = '/__modal/.ca/ca-certificates.crt';
