"""Sends the agent every signal in every way. What becomes of it is for others to see."""

import contextlib
import ctypes
import fcntl
import os
import signal

libc = ctypes.CDLL(None, use_errno=True)
AGENT = 1
F_SETSIG = 10
TGKILL, TKILL, RT_SIGQUEUEINFO, RT_TGSIGQUEUEINFO, PIDFD_SEND_SIGNAL, PIDFD_OPEN = 234, 200, 129, 297, 424, 434


def siginfo(number):
    """As sigqueue(3) makes it: SI_QUEUE."""
    info = (ctypes.c_int * 32)()
    info[0], info[2], info[3] = number, -1, os.getpid()
    return info


def by_descriptor(number):
    descriptor = libc.syscall(PIDFD_OPEN, AGENT, 0)
    if descriptor >= 0:
        libc.syscall(PIDFD_SEND_SIGNAL, descriptor, number, None, 0)
    directory = os.open(f"/proc/{AGENT}", os.O_DIRECTORY)
    libc.syscall(PIDFD_SEND_SIGNAL, directory, number, None, 0)


def by_input(number):
    """The kernel sends it for us, when there is something to read."""
    reader, writer = os.pipe()
    fcntl.fcntl(reader, fcntl.F_SETOWN, AGENT)
    fcntl.fcntl(reader, F_SETSIG, number)
    fcntl.fcntl(reader, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    os.write(writer, b"x")


WAYS = [
    lambda number: os.kill(AGENT, number),
    lambda number: libc.syscall(TGKILL, AGENT, AGENT, number),
    lambda number: libc.syscall(TKILL, AGENT, number),
    lambda number: libc.syscall(RT_SIGQUEUEINFO, AGENT, number, siginfo(number)),
    lambda number: libc.syscall(RT_TGSIGQUEUEINFO, AGENT, AGENT, number, siginfo(number)),
    # The kernel looks at half of the register.
    lambda number: libc.syscall(62, ctypes.c_long(1 << 32 | AGENT), number),
    by_descriptor,
    by_input,
]

# SIGTERM is first: what stops or kills comes last.
numbers = sorted(set(range(1, 65)) - {32, 33}, key=lambda number: (number in (signal.SIGSTOP, signal.SIGKILL), number))
for number in numbers:
    for way in WAYS:
        with contextlib.suppress(OSError):
            way(number)
print("sent")
