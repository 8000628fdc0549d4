"""Tunnels: ports of a sandbox that are open to the outside. What a restart means to them is in `tunnels.test.ts`."""

import contextlib
import http.client
import json
import socket
import struct
import time
import urllib.error
import urllib.request
import warnings

import modal
from harness import case, create, equal, eventually, patient, raised, run, running, sh
from modal import exception
from web import CA, serving, values

# Says how many bytes it got, once it has all of them, and then its own; for "flood" without end.
COUNT = """
import socket, sys, threading
def serve(connection):
    with connection:
        first = connection.recv(5)
        if first == b"flood":
            piece = b"x" * 65536
            try:
                while True: connection.sendall(piece)
            except OSError: return
        if first == b"reset":
            import struct
            connection.sendall(b"part")
            connection.recv(1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        size = len(first)
        while piece := connection.recv(65536): size += len(piece)
        connection.sendall(f"got {size}".encode() + b"y" * 1_000_000)
server = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=1024)
while True:
    threading.Thread(target=serve, args=[server.accept()[0]], daemon=True).start()
"""

ECHO = """
import selectors, socket, sys
server = socket.create_server(("", int(sys.argv[1])), backlog=2048)
selector = selectors.DefaultSelector()
selector.register(server, selectors.EVENT_READ)
while True:
    for key, _ in selector.select():
        if key.fileobj is server:
            selector.register(server.accept()[0], selectors.EVENT_READ)
        else:
            data = key.fileobj.recv(65536)
            if data: key.fileobj.sendall(data)
            else:
                selector.unregister(key.fileobj)
                key.fileobj.close()
"""


def get(url, data=None, method=None):
    request = urllib.request.Request(url, data=data, method=method)
    with urllib.request.urlopen(request, context=CA, timeout=patient(30)) as answer:
        return answer.status, answer.read()


def received(connection):
    everything = b""
    while piece := connection.recv(1 << 16):
        everything += piece
    return everything


def connect(address):
    return socket.create_connection(address, timeout=patient(60))


@contextlib.contextmanager
def encrypted(tunnel):
    with connect(tunnel.tls_socket) as raw, CA.wrap_socket(raw, server_hostname=tunnel.host) as connection:
        yield connection


@case
def a_server_answers_at_the_url_as_soon_as_it_listens():
    with serving(8000, "0.0.0.0", encrypted_ports=[8000]) as sandbox:
        tunnel = sandbox.tunnels()[8000]
        assert tunnel.url.startswith("https://"), tunnel.url
        status, body = get(tunnel.url + "/a?b=c")
        asked = json.loads(body)
        equal((status, asked["method"], asked["path"]), (200, "GET", "/a?b=c"))
        equal(values(asked, "host"), [f"{tunnel.host}:{tunnel.port}"])
        error = raised(exception.InvalidError, lambda: tunnel.tcp_socket)
        assert "not configured for unencrypted TCP" in str(error)
        equal(modal.Sandbox.from_id(sandbox.object_id).tunnels()[8000], tunnel)


@case
def a_server_on_the_loopback_alone_is_reached():
    with serving(8000, encrypted_ports=[8000]) as sandbox:
        equal(get(sandbox.tunnels()[8000].url + "/")[0], 200)


@case
def a_connection_stays_open_for_further_requests_and_big_ones():
    with serving(8000, "0.0.0.0", encrypted_ports=[8000]) as sandbox:
        tunnel = sandbox.tunnels()[8000]
        connection = http.client.HTTPSConnection(tunnel.host, tunnel.port, context=CA, timeout=patient(60))
        for number in range(50):
            connection.request("GET", f"/{number}")
            asked = json.loads(connection.getresponse().read())
            equal((asked["method"], asked["path"]), ("GET", f"/{number}"))
        connection.request("POST", "/", body=b"x" * 20_000_000)
        equal(connection.getresponse().read(), b"20000000")
        connection.close()


@case
def events_arrive_as_they_are_sent():
    with serving(8000, "0.0.0.0", encrypted_ports=[8000]) as sandbox:
        url = sandbox.tunnels()[8000].url
        with urllib.request.urlopen(url + "/events", context=CA, timeout=patient(60)) as events:
            for number in range(3):
                equal(events.readline() + events.readline(), f"data: {number}\n\n".encode())
                get(url + "/heard", data=b"", method="PUT")  # only then the next one is sent


@case
def raw_bytes_go_both_ways_with_half_close():
    with running("python3", "-c", COUNT, "9000", unencrypted_ports=[9000]) as sandbox:
        tunnel = sandbox.tunnels()[9000]
        with connect(tunnel.tcp_socket) as connection:
            connection.sendall(b"x" * 3_000_000)
            connection.shutdown(socket.SHUT_WR)
            equal(received(connection), b"got 3000000" + b"y" * 1_000_000)
        # The same with TLS: an unencrypted tunnel has that as well.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert tunnel.url.startswith("https://")
        assert tunnel.tls_socket != tunnel.tcp_socket


@case
def a_connection_that_its_server_breaks_is_broken_for_its_client():
    with running("python3", "-c", COUNT, "9000", unencrypted_ports=[9000]) as sandbox:
        with connect(sandbox.tunnels()[9000].tcp_socket) as connection:
            connection.sendall(b"reset")
            equal(connection.recv(4), b"part")
            connection.sendall(b"!")
            raised(ConnectionResetError, lambda: received(connection))


@case
def without_a_server_there_is_a_reason():
    with running(encrypted_ports=[8000], unencrypted_ports=[9000]) as sandbox:
        tunnels = sandbox.tunnels()
        error = raised(urllib.error.HTTPError, lambda: get(tunnels[8000].url))
        equal(error.code, 502)
        equal(error.read(), b"Nothing in the sandbox listens on port 8000\n")
        with connect(tunnels[9000].tcp_socket) as connection:
            connection.sendall(b"\0\1\2")
            raised(ConnectionResetError, lambda: received(connection))


@case
def several_ports_and_a_port_of_several_kinds():
    with running("python3", "-c", ECHO, "9000", unencrypted_ports=[9000], encrypted_ports=[9000, 9001]) as sandbox:
        tunnels = sandbox.tunnels()
        equal(sorted(tunnels), [9000, 9001])
        with connect(tunnels[9000].tcp_socket) as connection:
            connection.sendall(b"plain")
            equal(connection.recv(10), b"plain")
        with encrypted(tunnels[9000]) as connection:
            connection.sendall(b"encrypted")
            equal(connection.recv(10), b"encrypted")


@case
def an_ended_sandbox_has_none():
    with running(encrypted_ports=[8000]) as sandbox:
        sandbox.terminate()
        raised(exception.NotFoundError, sandbox.tunnels)


@case
def bad_ports_are_refused():
    for port in [0, 70_000]:
        raised(exception.InvalidError, lambda: create(encrypted_ports=[port]))
    raised(exception.InvalidError, lambda: create(encrypted_ports=list(range(8000, 8100))))


@case
def the_end_of_the_sandbox_closes_connections_and_ports():
    with running("python3", "-c", ECHO, "9000", unencrypted_ports=[9000]) as sandbox:
        tunnel = sandbox.tunnels()[9000]
        with connect(tunnel.tcp_socket) as connection:
            connection.sendall(b"x")
            equal(connection.recv(1), b"x")
            sandbox.terminate()
            raised(ConnectionResetError, lambda: received(connection))

        def refused():
            try:
                connect(tunnel.tcp_socket).close()
            except ConnectionRefusedError:
                return True

        eventually(refused, "nobody listens any more")


@case
def a_connection_is_activity():
    with running("python3", "-c", ECHO, "9000", unencrypted_ports=[9000], idle_timeout=2) as sandbox:
        with connect(sandbox.tunnels()[9000].tcp_socket) as connection:
            # Longer than the idle timeout, by the same clock.
            time.sleep(4)
            connection.sendall(b"x")
            equal(connection.recv(1), b"x")
        eventually(lambda: sandbox.poll() is not None, "it ends once nobody is connected")


@case(alone=True)
def a_thousand_connections_and_slow_readers_disturb_nobody():
    echo = ["python3", "-c", ECHO, "9000"]
    with contextlib.ExitStack() as stack:
        sandboxes = [stack.enter_context(running(*echo, unencrypted_ports=[9000])) for _ in range(2)]
        slow = stack.enter_context(running("python3", "-c", COUNT, "9000", unencrypted_ports=[9000]))
        slow_address = slow.tunnels()[9000].tcp_socket
        readers = [stack.enter_context(connect(slow_address)) for _ in range(20)]
        for reader in readers:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.sendall(b"flood")  # and nothing of it is read
        addresses = [sandbox.tunnels()[9000].tcp_socket for sandbox in sandboxes]
        crowd = []
        for number in range(1000):
            crowd.append(stack.enter_context(connect(addresses[number % 2])))
        for number, connection in enumerate(crowd):
            connection.sendall(struct.pack("I", number))
        for number, connection in enumerate(crowd):
            equal(connection.recv(4), struct.pack("I", number))
        # The rest of the server goes on meanwhile.
        equal(sh(sandboxes[0], "echo here"), "here\n")


run()
