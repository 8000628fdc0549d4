"""Things of the machine that attacks look for: a process with a secret in its environment (`SKERRY_CANARY`), shared memory and an abstract socket that hold it, and
a file. Prints how they are found, as JSON; they go when standard input ends.
"""

import ctypes
import json
import os
import socket
import sys
import threading

SIZE = 4096
IPC_CREAT, IPC_EXCL, IPC_RMID = 0o1000, 0o2000, 0

libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
secret = os.environ["SKERRY_CANARY"].encode()

key = os.getpid() | 0x5CE00000
memory = libc.shmget(key, SIZE, IPC_CREAT | IPC_EXCL | 0o600)
assert memory != -1, os.strerror(ctypes.get_errno())
ctypes.memmove(libc.shmat(memory, None, 0), secret, len(secret) + 1)

name = f"skerry-canary-{os.getpid()}"
listener = socket.socket(socket.AF_UNIX)
listener.bind("\0" + name)
listener.listen()


def serve():
    while True:
        connection = listener.accept()[0]
        connection.sendall(secret)
        connection.close()


threading.Thread(target=serve, daemon=True).start()
print(json.dumps({"canaryPid": os.getpid(), "memoryKey": key, "abstractSocket": name}), flush=True)
try:
    sys.stdin.read()
finally:
    libc.shmctl(memory, IPC_RMID, None)
