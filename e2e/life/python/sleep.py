"""Sandboxes that are suspended when they are idle, since the server has it so, and what wakes them. Needs gVisor; `SKERRY_LS` is a command that lists."""

import json
import os
import socket
import subprocess

import modal
from harness import app, case, create, equal, eventually, patient, run, sh

# Counts in memory whoever connects, and says so; the third line of its output comes after two sleeps.
PROGRAM = """
import os, socket
secret = os.urandom(8).hex(); count = 0; kept = open("/kept", "w+")
server = socket.create_server(("", 8000))
print("serving", flush=True)
while True:
    one, _ = server.accept(); count += 1; kept.write("x"); kept.flush()
    one.sendall(f"{secret} {count}".encode()); one.close()
    print("told", count, flush=True)
"""
ASK = 'import socket; print(socket.create_connection(("127.0.0.1", 8000)).makefile().read())'


def state(sandbox):
    lines = subprocess.run(json.loads(os.environ["SKERRY_LS"]), check=True, capture_output=True).stdout.splitlines()
    return next((each["state"] for each in map(json.loads, lines) if each["id"] == sandbox.object_id), "gone")


def asleep(sandbox):
    eventually(lambda: state(sandbox) == "suspended", "it is suspended")


def ask(sandbox):
    secret, count = sh(sandbox, f"python3 -ISc '{ASK}'").split()
    return secret, int(count)


@case
def a_counter_goes_on_after_each_sleep():
    with modal.Volume.ephemeral() as volume:
        sandbox = create(
            "python3", "-uc", PROGRAM, idle_timeout=1, unencrypted_ports=[8000], volumes={"/vol": volume}, name="sleeper"
        )
        at = sandbox.tunnels(timeout=patient(60))[8000].tcp_socket
        secret, count = ask(sandbox)
        equal(count, 1)
        sh(sandbox, "echo mine > /vol/mine")

        asleep(sandbox)
        equal((sandbox.poll(), modal.Sandbox.from_name("life", "sleeper").object_id), (None, sandbox.object_id))
        assert sandbox.object_id in [each.object_id for each in modal.Sandbox.list(app_id=app.app_id)]
        equal(b"".join(volume.read_file("mine")), b"mine\n")
        equal(state(sandbox), "suspended")
        equal(ask(sandbox), (secret, 2))

        asleep(sandbox)
        with socket.create_connection(at) as connection:
            equal(connection.makefile().read(), f"{secret} 3")

        asleep(sandbox)
        equal(sandbox.filesystem.read_text("/kept"), "xxx")
        equal(ask(sandbox), (secret, 4))

        asleep(sandbox)
        image = sandbox.snapshot_filesystem()
        sandbox.set_tags({"still": "here"})
        asleep(sandbox)
        sandbox.terminate()
        equal(sandbox.stdout.read(), "serving\ntold 1\ntold 2\ntold 3\ntold 4\n")
        equal(state(sandbox), "gone")
        copy = create("cat", "/kept", image=image)
        equal(copy.stdout.read(), "xxxx")
        copy.terminate()


run()
