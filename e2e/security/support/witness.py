"""A machine beyond the sandboxes' network that says what reached it: datagrams on UDP port 9, of which it tells on TCP port 10 whoever asks for one by what it said.

The answer to a line on TCP is the address that the datagram came from, or nothing while none came. Prints "ready" once it listens, goes when standard input ends.
"""

import socket
import sys
import threading

seen = {}
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.bind(("", 9))
questions = socket.create_server(("", 10))


def watch():
    while True:
        data, source = datagrams.recvfrom(512)
        seen[data] = source[0]


def answer():
    while True:
        connection = questions.accept()[0]
        with connection:
            connection.sendall(seen.get(connection.recv(512), "").encode())


for each in (watch, answer):
    threading.Thread(target=each, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
