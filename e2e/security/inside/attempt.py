"""Runs attacks one after the other, inside of what they attack, and says of each whether it succeeded.

Standard input: `{"given": {...}, "attacks": [{"name": ..., "program": ...}]}`. An attack is Python source. One that comes to its end succeeded; one that
raises was held, and what it raised is what its user sees. Each runs in a process of its own, so that it may end in any way. Standard output: a line of JSON
for each. Nothing but the standard library, whichever Python 3 there is.
"""

import ctypes
import errno
import json
import os
import platform
import signal
import socket
import struct
import subprocess
import sys
import time

SECONDS_EACH = 60
# A pipe holds as much.
SAID_BYTES = 4096

libc = ctypes.CDLL(None, use_errno=True)
_x86 = platform.machine() == "x86_64"
# <asm/unistd.h> of both architectures: what libc has no function for.
CALLS = {
    "clone": 56 if _x86 else 220,
    "pivot_root": 155 if _x86 else 41,
    "finit_module": 313 if _x86 else 273,
    "delete_module": 176 if _x86 else 106,
    "bpf": 321 if _x86 else 280,
    "add_key": 248 if _x86 else 217,
    "userfaultfd": 323 if _x86 else 282,
    "io_uring_setup": 425,
    "perf_event_open": 298 if _x86 else 241,
    "syslog": 103 if _x86 else 116,
    "name_to_handle_at": 303 if _x86 else 264,
    "open_by_handle_at": 304 if _x86 else 265,
    "fanotify_init": 300 if _x86 else 262,
    "fsopen": 430,
    "setns": 308 if _x86 else 268,
    "unshare": 272 if _x86 else 97,
    "capset": 126 if _x86 else 91,
}
MS_REMOUNT, MS_BIND = 32, 4096
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWUSER = 0x20000, 0x4000000, 0x10000000


class Held(Exception):
    """The attack did not do what it is for, without an error of the kernel's."""


def require(condition, otherwise):
    if not condition:
        raise Held(otherwise)


def syscall(name, *arguments):
    """@raises OSError"""
    return checked(libc.syscall(ctypes.c_long(CALLS[name]), *[_argument(each) for each in arguments]))


def _argument(value):
    return ctypes.c_long(value) if isinstance(value, int) else value


def checked(result):
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def mount(source, target, kind, flags=0, data=None):
    encoded = [None if each is None else each.encode() for each in (source, target, kind, data)]
    checked(libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3]))


def answers(call, *errors):
    """Whether the kernel did what a call asks for, as far as these errors show that it would have: it looked at the arguments, which are wrong."""
    try:
        call()
    except OSError as error:
        if error.errno not in errors:
            raise


def fill(path, mebibytes):
    try:
        with open(path, "wb", buffering=0) as file:
            for _ in range(mebibytes):
                file.write(bytes(1 << 20))
    finally:
        os.unlink(path)


def _said(error):
    if isinstance(error, OSError) and error.errno is not None:
        return f"{errno.errorcode.get(error.errno, error.errno)}: {error.strerror}"
    return f"{type(error).__name__}: {error}" if not isinstance(error, Held) else str(error)


def _attempt(program, given):
    """In the process of the attack: what it says, and whether it came to its end."""
    scope = {**globals(), "given": given}
    try:
        exec(compile(program, "attack", "exec"), scope)
        return {"succeeded": True, "said": str(scope.get("said", ""))}
    except BaseException as error:
        return {"succeeded": False, "said": _said(error)}


def _run(attack, given):
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        signal.alarm(SECONDS_EACH)
        os.close(reading)
        os.write(writing, json.dumps(_attempt(attack["program"], given)).encode()[:SAID_BYTES])
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    try:
        os.killpg(pid, signal.SIGKILL)  # what it left, which may hold the pipe
    except OSError:
        pass
    try:
        while True:
            os.wait()  # where this is the first process, it has those whose parent died
    except ChildProcessError:
        pass
    os.close(writing)
    os.set_blocking(reading, False)
    try:
        told = os.read(reading, SAID_BYTES)
    except BlockingIOError:
        told = b""
    os.close(reading)
    if told:
        return json.loads(told)
    by = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"status {status}"
    return {"succeeded": False, "said": f"killed by {by}"}


def main():
    task = json.load(sys.stdin)
    for attack in task["attacks"]:
        print(json.dumps({"name": attack["name"], **_run(attack, task["given"])}), flush=True)


main()
