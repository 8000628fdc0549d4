"""What a program in a sandbox reaches, for the cases about its network."""

# Tries each word of its arguments: HOST, HOST@ADDRESS for the name of one host sent to the address of another, HTTP:HOST, or TCP:ADDRESS.
REACH = """
import http.client, socket, ssl, sys
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
def reach(what):
    kind, _, rest = what.rpartition(":")
    if kind == "HTTP":
        connection = http.client.HTTPConnection(rest, timeout=60)
        connection.request("GET", "/")
        answer = connection.getresponse()
        return answer.status, answer.read().decode().split(" ")[0]
    if kind == "TCP":
        return socket.create_connection((rest, 22), 60).recv(100).decode().strip()
    name, _, address = what.partition("@")
    with socket.create_connection((address or name, 443), 60) as plain:
        with context.wrap_socket(plain, server_hostname=name) as secure:
            return secure.recv(100).decode().strip()
for what in sys.argv[1:]:
    try:
        print(reach(what))
    except OSError:
        print("closed")
"""


# Prints for each host what authorization arrives there when a program sends "placeholder".
AUTHORIZE = """
import sys, urllib.request
for host in sys.argv[1:]:
    request = urllib.request.Request(f"https://{host}/", headers={"Authorization": "placeholder"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        print(answer.headers["x-authorization"])
"""


def authorize(container, *hosts):
    process = container.exec("python3", "-c", AUTHORIZE, *hosts)
    lines = process.stdout.read().splitlines()
    return lines if process.wait() == 0 else process.stderr.read()


def reach(container, *what):
    process = container.exec("python3", "-c", REACH, *what)
    return process.stdout.read().splitlines()
