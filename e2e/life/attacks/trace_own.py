"""No attack: what debuggers do with programs of their own. Prints `ok`, or fails."""

import ctypes
import os
import resource
import signal

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
PTRACE_TRACEME, PTRACE_CONT, PTRACE_ATTACH, PTRACE_DETACH = 0, 7, 16, 17


def ptrace(request, pid):
    if libc.ptrace(request, pid, None, None) != 0:
        raise OSError(ctypes.get_errno(), f"ptrace {request}")


traced = os.fork()
if traced == 0:
    ptrace(PTRACE_TRACEME, 0)
    os.kill(os.getpid(), signal.SIGSTOP)
    os._exit(3)
assert os.WIFSTOPPED(os.waitpid(traced, 0)[1])
ptrace(PTRACE_CONT, traced)
assert os.WEXITSTATUS(os.waitpid(traced, 0)[1]) == 3

other = os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "60")
ptrace(PTRACE_ATTACH, other)
assert os.WIFSTOPPED(os.waitpid(other, 0)[1])
with open(f"/proc/{other}/maps") as maps:
    start = int(maps.readline().split("-")[0], 16)
with open(f"/proc/{other}/mem", "rb") as memory:
    memory.seek(start)
    assert len(memory.read(4)) == 4
resource.prlimit(other, resource.RLIMIT_CORE, (0, 0))
ptrace(PTRACE_DETACH, other)
os.kill(other, signal.SIGKILL)
assert os.WTERMSIG(os.waitpid(other, 0)[1]) == signal.SIGKILL
print("ok")
