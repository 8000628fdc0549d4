/** Attacks on the agent in the sandbox, and on what it could hand on of the machine. */
import {
  GUEST_AGENT,
  GUEST_AGENT_SOCKET,
  GUEST_BIN_DIR,
  GUEST_RUN_DIR,
} from '../../../server/src/engines/paths.ts';
import { breakout, type Expected, held, type InsideAttack } from '../support/attack.ts';
import { replaced } from '../support/weakenings.ts';

const READ_ONLY = /^EROFS/;

/** The same is to come of it under both runtimes. */
const both = (name: string, program: string, expected: Expected): InsideAttack =>
  breakout(name, program, expected, expected);

export const agentAttacks: readonly InsideAttack[] = [
  both(
    "overwrite the agent's program, which all sandboxes share",
    `os.close(os.open("${GUEST_AGENT}", os.O_WRONLY | os.O_APPEND))`,
    held(/^(ETXTBSY|EROFS|EACCES)/, 'its directory is mounted read-only', replaced(GUEST_BIN_DIR, 'binDir')),
  ),
  both(
    "put another program in the agent's place",
    `
open("/tmp/impostor", "w").close()
os.chmod("/tmp/impostor", 0o755)
try:
    os.replace("/tmp/impostor", "${GUEST_AGENT}")
except OSError as error:
    if error.errno != errno.EXDEV:  # another file system: copy it
        raise
    import shutil
    shutil.copy("/tmp/impostor", "${GUEST_AGENT}.new")
    os.replace("${GUEST_AGENT}.new", "${GUEST_AGENT}")`,
    held(READ_ONLY, 'its directory is mounted read-only', replaced(GUEST_BIN_DIR, 'binDir')),
  ),
  both(
    "take the agent's socket away",
    `os.rename("${GUEST_AGENT_SOCKET}", "${GUEST_AGENT_SOCKET}.away"); os.rename("${GUEST_AGENT_SOCKET}.away", "${GUEST_AGENT_SOCKET}")`,
    held(READ_ONLY, 'its directory is mounted read-only', replaced(GUEST_RUN_DIR, 'socketDir')),
  ),
  both(
    'pose as the agent without being root',
    `
os.setgroups([])
os.setgid(1000)
os.setuid(1000)
socket.socket(socket.AF_UNIX).connect("${GUEST_AGENT_SOCKET}")`,
    held(/^EACCES/, 'only root may enter its directory', replaced(GUEST_RUN_DIR, 'socketDir')),
  ),
];
