"""Connect tokens: HTTP to a port of a sandbox for whoever has one. What a restart means to them is in `connect.test.ts`."""

import contextlib
import http.client
import json
import socket
import time
import urllib.error
import urllib.parse
import urllib.request

from harness import case, create, equal, patient, raised, run, running
from modal import exception
from web import CA, SERVER, serving, values

NAME = "_modal_connect_token"


def ask(url, *, token=None, headers=(), data=None, method=None):
    """Status, headers and body; errors of HTTP are answers."""
    request = urllib.request.Request(url, data=data, method=method, headers=dict(headers))
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        answer = urllib.request.urlopen(request, context=CA, timeout=patient(60))
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, answer.headers, answer.read().decode()


def told(answer):
    """What the server in the sandbox was asked, of a good answer."""
    status, _, body = answer
    equal((status, body), (200, body))
    return json.loads(body)


def address(url):
    parts = urllib.parse.urlsplit(url)
    return parts.hostname, parts.port


@case
def a_token_opens_the_default_port_with_its_metadata():
    with serving() as sandbox:
        granted = sandbox.create_connect_token(user_metadata={"user_id": "foo", "größe": 1})
        asked = told(ask(f"{granted.url}/a/b?c=d&e", token=granted.token, headers={"X-Verified-User-Data": "root"}))
        equal((asked["method"], asked["path"]), ("GET", "/a/b?c=d&e"))
        equal(values(asked, "x-verified-user-data"), ['{"user_id": "foo", "gr\\u00f6\\u00dfe": 1}'])
        equal(values(asked, "authorization"), [])
        # A text goes as it is, and nothing is nothing.
        text = sandbox.create_connect_token("Zoë")
        equal(values(told(ask(text.url, token=text.token)), "x-verified-user-data"), ["Zoë".encode().decode("latin-1")])
        plain = sandbox.create_connect_token()
        forged = {"X-Verified-User-Data": "root", "X_Verified_User_Data": "root", "Connection": "x-verified-user-data"}
        equal(values(told(ask(plain.url, token=plain.token, headers=forged)), "x-verified-user-data"), [])
        equal({granted.url, text.url, plain.url}, {granted.url})


@case
def a_token_may_be_asked_for_before_anything_runs():
    sandbox = create("sh", "-c", "sleep 2; exec python3 -c \"$0\" 127.0.0.1 8080", SERVER)
    try:
        granted = sandbox.create_connect_token()
        equal(told(ask(granted.url, token=granted.token))["path"], "/")
    finally:
        sandbox.terminate()


@case
def each_port_has_its_own_tokens():
    with serving() as sandbox:
        sandbox.exec("python3", "-c", SERVER, "0.0.0.0", "9000")
        one, other = sandbox.create_connect_token(), sandbox.create_connect_token(port=9000)
        assert one.url != other.url
        equal(told(ask(other.url, token=other.token))["path"], "/")
        status, _, body = ask(one.url, token=other.token)
        equal(status, 403)
        assert "port 9000" in body, body


@case
def without_a_good_token_there_is_nothing():
    with serving() as sandbox, serving() as another:
        granted, others = sandbox.create_connect_token(), another.create_connect_token()
        for token, status in [
            (None, 401),
            ("wrong", 401),
            (granted.token[:-1], 401),
            (granted.token + "x", 401),
            (others.token, 403),
        ]:
            found, headers, body = ask(granted.url, token=token)
            equal((found, "WWW-Authenticate" in headers), (status, status == 401))
            assert "token" in body, body
            query = f"{granted.url}/?{NAME}={token or ''}"
            equal(ask(query)[0], status)
            equal(ask(granted.url, headers={"Cookie": f"{NAME}={token or ''}"})[0], status)
        equal(ask(granted.url, token=granted.token)[0], 200)


@case
def a_token_in_the_query_becomes_a_cookie():
    with serving() as sandbox:
        granted = sandbox.create_connect_token({"user": 1})
        cookies = urllib.request.HTTPCookieProcessor()
        browser = urllib.request.build_opener(cookies, urllib.request.HTTPSHandler(context=CA))
        first = json.load(browser.open(f"{granted.url}/page?x=1&{NAME}={granted.token}", timeout=patient(60)))
        equal(first["path"], "/page?x=1")
        assert NAME in {cookie.name for cookie in cookies.cookiejar}
        referer = {"Referer": f"{granted.url}/page?{NAME}={granted.token}"}
        again = json.load(browser.open(urllib.request.Request(f"{granted.url}/style.css", headers=referer)))
        equal(values(again, "x-verified-user-data"), ['{"user": 1}'])
        equal(values(again, "referer"), [f"{granted.url}/page"])
        for asked in [first, again]:
            assert granted.token not in json.dumps(asked) and NAME not in json.dumps(asked), asked


@case
def events_come_one_by_one():
    with serving() as sandbox:
        granted = sandbox.create_connect_token()
        headers = {"Authorization": f"Bearer {granted.token}"}
        request = urllib.request.Request(f"{granted.url}/events", headers=headers)
        with urllib.request.urlopen(request, context=CA, timeout=patient(60)) as events:
            for number in range(3):
                equal(events.readline(), f"data: {number}\n".encode())
                equal(events.readline(), b"\n")
                ask(f"{granted.url}/heard", token=granted.token, method="PUT", data=b"")
            equal(events.read(), b"")


@case
def large_bodies_pass_both_ways():
    with serving() as sandbox:
        granted = sandbox.create_connect_token()
        size = 50_000_000
        equal(ask(granted.url, token=granted.token, data=b"x" * size)[2], str(size))
        headers = {"Authorization": f"Bearer {granted.token}"}
        request = urllib.request.Request(f"{granted.url}/bytes?{size}", headers=headers)
        with urllib.request.urlopen(request, context=CA, timeout=patient(60)) as answer:
            received = 0
            while piece := answer.read(1 << 20):
                received += len(piece)
        equal(received, size)


def frame(text):
    """Of a client: masked, here with zeros."""
    return bytes([0x81, 0x80 | len(text)]) + bytes(4) + text


@case
def a_websocket_passes_both_ways():
    with serving() as sandbox:
        granted = sandbox.create_connect_token({"id": 7})
        for path, more in [
            (f"/?{NAME}={granted.token}", ""),
            ("/", f"Authorization: Bearer {granted.token}\r\n"),
            ("/", f"Cookie: {NAME}={granted.token}\r\n"),
        ]:
            with socket.create_connection(address(granted.url), timeout=patient(60)) as connection:
                connection.sendall(
                    f"GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n".encode()
                )
                stream = connection.makefile("rb")
                equal(stream.readline(), b"HTTP/1.1 101 Switching Protocols\r\n")
                head = b"".join(iter(stream.readline, b"\r\n"))
                # RFC 6455, section 1.3.
                assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head, head
                equal(stream.read(11), b"\x81\x09" + b'{"id": 7}')
                for word in [b"one", b"two"]:
                    connection.sendall(frame(word))
                    equal(stream.read(5), b"\x81\x03" + word)


@case
def https_at_the_same_address_for_who_trusts_the_authority():
    with serving() as sandbox:
        granted = sandbox.create_connect_token()
        asked = told(ask(granted.url.replace("http://", "https://"), token=granted.token))
        equal(values(asked, "x-forwarded-proto"), ["https"])
        equal(values(told(ask(granted.url, token=granted.token)), "x-forwarded-proto"), ["http"])


@case
def what_could_be_read_as_two_requests_does_not_pass():
    with serving() as sandbox:
        granted = sandbox.create_connect_token()
        start = f"POST / HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {granted.token}\r\n"
        second = "GET /second HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
        for headers, first in [
            ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
            ("Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
            ("Content-Length: 3\r\n\r\nabc", 200),
        ]:
            with socket.create_connection(address(granted.url), timeout=patient(60)) as connection:
                connection.sendall((start + headers + second).encode())
                answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
            assert answer.startswith(f"HTTP/1.1 {first}"), answer
            assert "/second" not in answer, answer
            if first == 200:
                assert "HTTP/1.1 401" in answer, answer


@case
def metadata_and_ports_out_of_bounds_are_refused():
    with running() as sandbox:
        sandbox.create_connect_token("x" * 511)
        for metadata in ["x" * 512, {"x": "y" * 503}, "a\r\nX-Admin: 1", "a\0"]:
            assert "user_metadata" in str(raised(exception.InvalidError, lambda: sandbox.create_connect_token(metadata)))
        raised(exception.InvalidError, lambda: sandbox.create_connect_token(port=0))


@case
def a_port_where_nothing_listens_is_a_bad_gateway_that_says_why():
    with running() as sandbox:
        granted = sandbox.create_connect_token(port=8081)
        status, _, body = ask(granted.url, token=granted.token)
        equal((status, body), (502, "Nothing in the sandbox listens on port 8081\n"))


@case
def requests_are_activity_and_only_those_with_a_token():
    idle = patient(3)
    with serving(idle_timeout=idle) as sandbox:
        granted = sandbox.create_connect_token()
        headers = {"Authorization": f"Bearer {granted.token}"}
        request = urllib.request.Request(f"{granted.url}/events", headers=headers)
        with urllib.request.urlopen(request, context=CA, timeout=patient(60)) as events:
            equal(events.readline(), b"data: 0\n")
            time.sleep(2 * idle)  # by the same clock
            equal(sandbox.poll(), None)
        # With a wrong one it ends, whatever comes.
        while sandbox.poll() is None:
            with contextlib.suppress(OSError):  # its port is closed in the end
                equal(ask(granted.url, token="wrong")[0], 401)
            time.sleep(idle / 20)


@case
def with_the_sandbox_everything_of_it_ends():
    with serving() as sandbox:
        granted = sandbox.create_connect_token()
        host, port = address(granted.url)
        connection = http.client.HTTPConnection(host, port, timeout=patient(60))
        headers = {"Authorization": f"Bearer {granted.token}"}
        connection.request("GET", "/bytes?1000000000", headers=headers)
        answer = connection.getresponse()
        answer.read(1)
        sandbox.terminate()
        cut = raised_any(lambda: answer.read())
        assert isinstance(cut, (http.client.IncompleteRead, ConnectionError)), cut
        assert isinstance(raised_any(lambda: ask(granted.url, token=granted.token)), OSError)
        # The clients' own word for what has ended.
        raised(exception.NotFoundError, lambda: sandbox.create_connect_token())


def raised_any(call):
    try:
        value = call()
    except Exception as error:
        return error
    raise AssertionError(f"nothing raised, but {str(value)[:200]!r}")


@case
def a_sandbox_without_a_network_is_reached_as_well():
    with serving(block_network=True) as sandbox:
        granted = sandbox.create_connect_token()
        equal(told(ask(granted.url, token=granted.token))["path"], "/")


run()
