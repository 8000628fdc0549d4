"""Tries to write a record into the machine's audit log, as AUDIT_USER of netlink(7). Prints `written` or why not."""

import os
import socket
import struct

NETLINK_AUDIT = 9
AUDIT_USER = 1005
NLM_F_REQUEST, NLM_F_ACK = 1, 4

try:
    audit = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_AUDIT)
    audit.settimeout(5)
    text = b"forged\0"
    audit.send(struct.pack("=IHHII", 16 + len(text), AUDIT_USER, NLM_F_REQUEST | NLM_F_ACK, 1, os.getpid()) + text)
    error = struct.unpack_from("=i", audit.recv(4096), 16)[0]
    print("written" if error == 0 else os.strerror(-error))
except OSError as error:
    print(error.strerror)
