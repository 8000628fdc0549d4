"""Takes all it can get of what a kernel counts for each user or for everybody, says how much, and holds it until its input ends. Argument: of what."""

import ctypes
import fcntl
import os
import pty
import resource
import signal
import sys

libc = ctypes.CDLL(None, use_errno=True)
F_SETPIPE_SZ = 1031
MIB = 1 << 20


def failed(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "refused")


def inotify():
    failed(libc.inotify_init())


def queued_signals():
    """To itself, which does not take them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGRTMIN + 1})
    failed(libc.sigqueue(os.getpid(), signal.SIGRTMIN + 1, 0))


def asynchronous_io():
    context = ctypes.c_ulong(0)
    failed(libc.syscall(206, 1024, ctypes.byref(context)))


def terminals():
    pty.openpty()


def pipes():
    """Large ones, as an ordinary user: root may go beyond the bound."""
    reader, _ = os.pipe()
    fcntl.fcntl(reader, F_SETPIPE_SZ, MIB)


resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
take = {"inotify": inotify, "queued-signals": queued_signals, "asynchronous-io": asynchronous_io}
take |= {"terminals": terminals, "pipes": pipes}
taken = 0
try:
    while taken < 200_000:
        take[sys.argv[1]]()
        taken += 1
except OSError:
    pass
print(taken, flush=True)
sys.stdin.read()
