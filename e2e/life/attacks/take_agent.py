"""Tries to trace, read and limit the agent, as root and as any user that the agent could be. Prints what it could do."""

import ctypes
import os
import resource

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206
AGENT = 1


def reads(path, offset=None):
    with open(path, "rb") as file:
        if offset is not None:
            file.seek(offset)
        return bool(file.read(1))


def first_mapping():
    with open(f"/proc/{AGENT}/maps") as file:
        return int(file.readline().split("-")[0], 16)


def traced(request):
    if libc.ptrace(request, AGENT, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    return True


def read_memory():
    class Vector(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]

    buffer = ctypes.create_string_buffer(8)
    here = Vector(ctypes.cast(buffer, ctypes.c_void_p), 8)
    there = Vector(0x400000, 8)
    if libc.process_vm_readv(AGENT, ctypes.byref(here), 1, ctypes.byref(there), 1, 0) < 0:
        raise OSError(ctypes.get_errno(), "process_vm_readv")
    return True


def limited():
    soft, hard = resource.prlimit(AGENT, resource.RLIMIT_NOFILE)
    resource.prlimit(AGENT, resource.RLIMIT_NOFILE, (soft, hard))
    return True


ATTEMPTS = {
    "attach": lambda: traced(PTRACE_ATTACH),
    "seize": lambda: traced(PTRACE_SEIZE),
    "maps": first_mapping,
    "mem": lambda: reads(f"/proc/{AGENT}/mem", 0x400000),
    "environ": lambda: reads(f"/proc/{AGENT}/environ"),
    "descriptors": lambda: os.readlink(f"/proc/{AGENT}/fd/0"),
    "process_vm_readv": read_memory,
    "prlimit": limited,
}


def attempt(user):
    if user is not None:
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    for name, action in ATTEMPTS.items():
        try:
            if action():
                print(name, "as", "root" if user is None else user, flush=True)
        except OSError:
            pass


def users():
    """Those that /proc tells of the agent."""
    found = set()
    with open(f"/proc/{AGENT}/status") as file:
        for line in file:
            if line.startswith(("Uid:", "Gid:")):
                found.update(int(word) for word in line.split()[1:])
    return sorted(found)


for user in [None, *users()]:
    child = os.fork()
    if child == 0:
        try:
            attempt(user)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
