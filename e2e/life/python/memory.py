"""Snapshots of the memory, under gVisor: a program goes on where it was, several times. The test runs the last case after a crash of the server."""

import concurrent.futures
import json
import os

import modal
import modal.exception
from harness import LIFETIME, app, case, create, equal, eventually, image, raised, run, sh

# State in memory, an open file, one that has no name any more, a pipe to a child, a timer, and a server.
PROGRAM = """
import http.server, json, os, subprocess, threading
secret = os.urandom(8).hex()
opened = open("/opened", "w+"); unnamed = open("/unnamed", "w+"); os.unlink("/unnamed"); unnamed.write("kept"); unnamed.flush()
echo = "import sys\\nfor line in sys.stdin: print('child', line.strip(), flush=True)"
child = subprocess.Popen(["python3", "-c", echo], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
ticks = 0
def tick():
    global ticks
    ticks += 1; threading.Timer(0.05, tick).start()
tick()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        child.stdin.write(self.path + "\\n"); child.stdin.flush()
        opened.write(self.path); opened.flush(); unnamed.seek(0)
        told = {"secret": secret, "ticks": ticks, "child": child.stdout.readline().strip(), "file": open("/opened").read(),
                "unnamed": unnamed.read(), "fresh": os.urandom(8).hex()}
        self.send_response(200); self.end_headers(); self.wfile.write(json.dumps(told).encode())
        print("asked", self.path, flush=True)
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("", 8000), Handler)
print("serving", flush=True)
server.serve_forever()
"""
# Imports little: under gVisor that is most of what it costs.
ASK = """
import socket, sys
server = socket.create_connection(("127.0.0.1", 8000))
server.sendall(b"GET %s HTTP/1.0\\r\\n\\r\\n" % sys.argv[1].encode())
print(server.makefile().read().split("\\n\\n")[1])
"""


def serving(**options):
    sandbox = create("python3", "-uc", PROGRAM, _experimental_enable_snapshot=True, **options)
    equal(next(iter(sandbox.stdout)), "serving\n")
    return sandbox


def ask(sandbox, path):
    process = sandbox.exec("python3", "-ISc", ASK, path)
    told = json.loads(process.stdout.read())
    equal((told["child"], told["unnamed"]), (f"child {path}", "kept"))
    return told


def restore(snapshot, **options):
    return modal.Sandbox._experimental_from_snapshot(snapshot, **options)


@case
def a_program_goes_on_in_the_original_and_in_three_copies_at_once():
    sandbox, many = serving(), 3
    before = ask(sandbox, "/one")
    sleeper = sandbox.exec("sleep", "1000")
    snapshot = sandbox._experimental_snapshot()
    with concurrent.futures.ThreadPoolExecutor(many) as pool:
        copies = list(pool.map(lambda _: restore(snapshot), range(many)))
    original = ask(sandbox, "/two")
    equal((original["secret"], original["file"]), (before["secret"], "/one/two"))
    assert sleeper.poll() is None
    fresh = {original["fresh"]}
    for copy in copies:
        told = ask(copy, "/three")
        equal((told["secret"], told["file"]), (before["secret"], "/one/three"))
        assert told["ticks"] >= before["ticks"]
        fresh.add(told["fresh"])
        # Its output begins with the snapshot, and it knows what the exec of the other began as nobody's.
        equal(next(iter(copy.stdout)), "asked /three\n")
        equal(sh(copy, "echo $MODAL_SANDBOX_ID; cat /proc/[0-9]*/comm | grep -cx sleep").split(), [copy.object_id, "1"])
    equal((len(fresh), len({one.object_id for one in [sandbox, *copies]})), (many + 1, many + 1))
    sandbox.terminate()
    # Of a copy, and once the original is gone.
    again = restore(copies[0]._experimental_snapshot())
    late = restore(modal.SandboxSnapshot.from_id(snapshot.object_id))
    told = ask(again, "/four")
    equal(told["file"], "/one/three/four")
    eventually(lambda: ask(again, "/more")["ticks"] > told["ticks"], "its timer goes on")
    equal(ask(late, "/five")["file"], "/one/five")
    for one in [*copies, again, late]:
        one.terminate()


@case
def a_program_goes_on_in_a_copy():
    sandbox = serving()
    told = ask(sandbox, "/one")
    copy = restore(sandbox._experimental_snapshot())
    for one in [sandbox, copy]:
        equal((ask(one, "/two")["file"], ask(one, "/three")["secret"]), ("/one/two", told["secret"]))
        one.terminate()


@case
def likewise_by_the_newer_calls():
    options = {"app": app, "image": image, "timeout": LIFETIME, "_experimental_enable_snapshot": True}
    sandbox = modal.Sandbox._experimental_create("python3", "-uc", PROGRAM, **options)
    equal(next(iter(sandbox.stdout)), "serving\n")
    told = ask(sandbox, "/one")
    copy = restore(sandbox._experimental_snapshot())
    for one in [sandbox, copy]:
        equal(ask(one, "/two")["secret"], told["secret"])
        one.terminate()


@case
def a_copy_has_the_name_of_the_other_or_another_or_none():
    sandbox = serving(name="remembered")
    snapshot = sandbox._experimental_snapshot()
    raised(modal.exception.AlreadyExistsError, lambda: restore(snapshot))
    other = restore(snapshot, name="another")
    equal(modal.Sandbox.from_name("life", "another").object_id, other.object_id)
    sandbox.terminate()
    same = restore(snapshot)
    equal(modal.Sandbox.from_name("life", "remembered").object_id, same.object_id)
    other.terminate()
    same.terminate()


@case
def volumes_are_mounted_as_they_are_now():
    with modal.Volume.ephemeral() as volume:
        sandbox = serving(volumes={"/vol": volume})
        sh(sandbox, "echo before > /vol/file")
        snapshot = sandbox._experimental_snapshot()
        sh(sandbox, "echo after > /vol/file")
        sandbox.terminate()
        copy = restore(snapshot)
        equal(sh(copy, "cat /vol/file; echo copy > /vol/file"), "after\n")
        copy.terminate()
        equal(b"".join(volume.read_file("file")), b"copy\n")


@case
def what_cannot_be_remembered_says_why():
    error = modal.exception.ConflictError if hasattr(modal.exception, "ConflictError") else modal.exception.Error
    plain = create()
    assert "_experimental_enable_snapshot" in str(raised(error, plain._experimental_snapshot))
    plain.terminate()
    raised(modal.exception.NotFoundError, lambda: restore(modal.SandboxSnapshot.from_id("sn-0000000000000000000000")))


@case
def before_the_crash():
    sandbox = serving()
    told = ask(sandbox, "/one")
    with open(os.environ["LIFE_NOTES"], "w") as notes:
        json.dump([sandbox._experimental_snapshot().object_id, told["secret"]], notes)
    sandbox.terminate()


@case
def after_the_crash():
    with open(os.environ["LIFE_NOTES"]) as notes:
        snapshot, secret = json.load(notes)
    copy = restore(modal.SandboxSnapshot.from_id(snapshot))
    equal(ask(copy, "/two")["secret"], secret)
    copy.terminate()


run()
