"""No attack: needs a little of each of what `take_quotas.py` takes. Prints what it does not get."""

import ctypes
import fcntl
import os
import pty
import signal

libc = ctypes.CDLL(None, use_errno=True)
F_SETPIPE_SZ, F_GETPIPE_SZ = 1031, 1032

if libc.inotify_init() < 0:
    print("inotify", os.strerror(ctypes.get_errno()))
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGRTMIN + 1})
if libc.sigqueue(os.getpid(), signal.SIGRTMIN + 1, 0) < 0:
    print("queued signals", os.strerror(ctypes.get_errno()))
try:
    pty.openpty()
except OSError as error:
    print("terminals", error.strerror)
reader, _ = os.pipe()
if fcntl.fcntl(reader, F_GETPIPE_SZ) < 65536:
    print("a pipe of the usual size")
