/**
 * Attempts to take what others need. The sandboxes that they are made in have small limits, `smallLimits`; where they succeed, it is below limits that are
 * little larger.
 */
import { type Expected, held, type InsideAttack, notHeld, shownBy } from '../support/attack.ts';
import { capable, limitedTo, roomAt, unboundedTerminals } from '../support/weakenings.ts';

/** Flags of the server. */
export const smallLimits = {
  flags: [
    ...['--default-pids', '200', '--default-disk-mib', '96', '--default-disk-files', '3000'],
    ...['--max-connections', '300'],
  ],
  memoryMiB: 256,
};

const more = { memory: limitedTo({ memoryMiB: 768 }), processes: limitedTo({ pids: 400 }) };
const memory = 'the memory limit counts it';
const processes = 'the limit of processes';
const ofItsKernel = 'they are things of its own kernel, whose memory is limited';
const ended = /^its sandbox was ended/;
const killed = /^(killed by SIGKILL|all its programs were killed)/;

const exhaustion = (name: string, program: string, runc: Expected, gvisor: Expected): InsideAttack => ({
  ...{ name, threat: 'exhaustion', program },
  ...{ runc, gvisor },
});

/** The same, where what is taken takes the sandbox along, or all its programs. */
const overload = (...attack: Parameters<typeof exhaustion>): InsideAttack => ({
  ...exhaustion(...attack),
  place: 'alone',
});

export const exhaustionAttacks: readonly InsideAttack[] = [
  overload(
    'fork for ever',
    `
for _ in range(250):
    if os.fork() == 0:
        signal.pause()`,
    held(/^EAGAIN/, processes, more.processes),
    shownBy('runc', ended, 'the limits of processes and of memory'),
  ),
  exhaustion(
    'start threads for ever',
    `
import threading
for _ in range(250):
    threading.Thread(target=signal.pause, daemon=True).start()`,
    held(/^RuntimeError: can't start new thread/, processes, more.processes),
    notHeld(ofItsKernel),
  ),
  exhaustion(
    'leave dead processes for ever',
    `
for _ in range(250):
    if os.fork() == 0:
        os._exit(0)`,
    held(/^EAGAIN/, processes, more.processes),
    notHeld(ofItsKernel),
  ),
  overload(
    'take all memory',
    'data = bytearray(400 << 20)',
    held(killed, memory, more.memory),
    held(ended, memory, more.memory),
  ),
  overload(
    'take all memory for files in memory',
    'os.write(os.memfd_create("attack"), bytes(200 << 20)); os.write(os.memfd_create("attack"), bytes(200 << 20))',
    held(killed, memory, more.memory),
    held(ended, memory, more.memory),
  ),
  overload(
    'fill the queues of sockets',
    `
pairs, queued, block = [], 0, bytes(1 << 16)
while queued < 400 << 20:
    pair = socket.socketpair()
    pair[0].setblocking(False)
    pairs.append(pair)
    try:
        while True:
            queued += pair[0].send(block)
    except BlockingIOError:
        pass`,
    held(killed, memory, more.memory),
    held(ended, memory, more.memory),
  ),
  exhaustion(
    'fill the memory that is shared',
    'fill("/dev/shm/attack", 200)',
    held(/^ENOSPC/, 'it has half of the memory limit', roomAt('/dev/shm', 240)),
    held(/^ENOSPC/, 'it has half of the memory limit', roomAt('/dev/shm', 240)),
  ),
  exhaustion(
    'fill /dev',
    'fill("/dev/attack", 100)',
    held(/^ENOSPC/, 'its size', roomAt('/dev', 128)),
    notHeld('its own kernel knows no size for it; what is in it counts as memory'),
  ),
  exhaustion(
    'fill the disk',
    'fill("/var/tmp/attack", 120)',
    held(/^ENOSPC/, 'the size of its disk', roomAt('/var/tmp', 160)),
    held(/^ENOSPC/, 'the size of its disk', roomAt('/var/tmp', 160)),
  ),
  exhaustion(
    'take all inodes of the disk',
    `
import shutil
os.mkdir("/var/tmp/attack")
try:
    for number in range(3500):
        open(f"/var/tmp/attack/{number}", "w").close()
finally:
    shutil.rmtree("/var/tmp/attack")`,
    held(/^ENOSPC/, 'the inodes of its disk', roomAt('/var/tmp', 160)),
    held(/^ENOSPC/, 'the inodes of its disk', roomAt('/var/tmp', 160)),
  ),
  exhaustion(
    'raise its limit of open files',
    `
import resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard + 1, hard + 1))`,
    held(/not allowed|EPERM/, 'CAP_SYS_RESOURCE is not given', capable('CAP_SYS_RESOURCE')),
    held(/not allowed|EPERM/, 'CAP_SYS_RESOURCE is not given', capable('CAP_SYS_RESOURCE')),
  ),
  exhaustion(
    'be spared when memory runs out',
    `
with open("/proc/self/oom_score_adj", "w") as file:
    file.write("-1000")`,
    held(/^EACCES/, 'CAP_SYS_RESOURCE is not given', capable('CAP_SYS_RESOURCE')),
    notHeld('its own kernel takes the number; when memory runs out, the sandbox ends as a whole'),
  ),
  exhaustion(
    'have the processor before everybody else',
    'os.setpriority(os.PRIO_PROCESS, 0, -20)',
    held(/^EACCES/, 'CAP_SYS_NICE is not given', capable('CAP_SYS_NICE')),
    notHeld(
      "its own kernel takes the number; how much of the processor it has is its control group's to say",
    ),
  ),
  exhaustion(
    'take all terminals',
    `
import pty
open_terminals = [pty.openpty() for _ in range(250)]`,
    held(/out of pty devices/, 'it may have so many, and no more', unboundedTerminals),
    notHeld(ofItsKernel),
  ),
];
