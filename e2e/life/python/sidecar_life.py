"""Sidecars of a sandbox: the network they share, what runs in them, how they end. What a restart means to them is in `sidecars.test.ts`."""

import modal
from harness import case, eventually, equal, image, raised, run, running, sh
from modal import exception

sidecar_image = image.run_commands("echo sidecar > /kind").build(modal.App.lookup("life", create_if_missing=True))

SERVER = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    connection, _ = server.accept()
    connection.sendall(sys.argv[2].encode())
    connection.close()
"""

CLIENT = """
import socket, sys, time
deadline = time.monotonic() + 20
while True:
    try:
        with socket.create_connection(("localhost", int(sys.argv[1]))) as connection:
            print(connection.makefile().read())
            break
    except ConnectionError:
        if time.monotonic() > deadline: raise
        time.sleep(0.1)
"""


def create(sandbox, *args, name="helper", **options):
    return sandbox._experimental_sidecars.create(*args, name=name, image=sidecar_image, **options)


def fetch(container, port):
    return container.exec("python3", "-c", CLIENT, str(port)).stdout.read().strip()


@case
def localhost_reaches_both_ways():
    with running("python3", "-c", SERVER, "7001", "main") as sandbox:
        sidecar = create(sandbox, "python3", "-c", SERVER, "7002", "sidecar")
        equal(fetch(sidecar, 7001), "main")
        equal(fetch(sandbox, 7002), "sidecar")


@case
def localhost_reaches_the_sidecar_of_a_blocked_sandbox_which_has_its_policy():
    with running(block_network=True) as sandbox:
        sidecar = create(sandbox, "python3", "-c", SERVER, "7002", "sidecar")
        equal(fetch(sandbox, 7002), "sidecar")
        probe = "import socket; socket.create_connection(('1.1.1.1', 53), 3)"
        assert sidecar.exec("python3", "-c", probe).wait() != 0


@case
def exec_in_a_sidecar():
    with running() as sandbox:
        options = {"env": {"A": "one"}, "secrets": [modal.Secret.from_dict({"B": "two"})], "workdir": "/srv/new"}
        sidecar = create(sandbox, "sleep", "infinity", **options)
        process = sidecar.exec("sh", "-c", "cat /kind; echo $A $B; pwd; cat; echo err >&2; exit 7", env={"C": "x"})
        process.stdin.write("input")
        process.stdin.write_eof()
        process.stdin.drain()
        equal(process.wait(), 7)
        equal(process.stdout.read(), "sidecar\none two\n/srv/new\ninput")
        equal(process.stderr.read(), "err\n")
        equal(sandbox.exec("cat", "/kind").wait(), 1)
        equal(sandbox.exec("sh", "-c", "echo ${A-none}").stdout.read(), "none\n")
        process = sidecar.exec("no-such-program")
        equal(process.wait(), 128)
        assert "no-such-program" in process.stderr.read()


@case
def files_of_a_sidecar():
    with running() as sandbox:
        sidecar = create(sandbox, "sleep", "infinity")
        sidecar.filesystem.write_text("content", "/data/file")
        equal(sidecar.filesystem.read_text("/data/file"), "content")
        equal(sidecar.filesystem.read_text("/kind"), "sidecar\n")
        equal(sandbox.exec("test", "-e", "/data/file").wait(), 1)
        snapshot = sidecar.snapshot_filesystem()
        again = sandbox._experimental_sidecars.create("cat", "/data/file", name="again", image=snapshot)
        again.wait()
        equal(again.poll(), 0)


@case
def a_sidecar_has_mounts_of_its_own_and_its_directories_become_images():
    key = b"a key of the caller's"
    with running() as sandbox:
        sidecar = create(sandbox, "sleep", "infinity", name="mounts")
        sh(sidecar, "mkdir /work; echo sidecar > /work/file")
        plain = sidecar.snapshot_directory("/work")
        sealed = sidecar.snapshot_directory("/work", _experimental_encryption_key=key)
        sidecar.mount_image("/plain", plain)
        sidecar.mount_image("/sealed", sealed, _experimental_encryption_key=key)
        equal(sh(sidecar, "cat /plain/file /sealed/file"), "sidecar\nsidecar\n")
        equal(sh(sandbox, "ls -d /plain /sealed 2>/dev/null || echo none"), "none\n")
        sandbox.mount_image("/plain", plain)
        sh(sandbox, "echo sandbox > /plain/file")
        equal(sh(sidecar, "cat /plain/file"), "sidecar\n")
        sidecar.unmount_image("/plain")
        equal(sh(sidecar, "ls -A /plain"), "")
        equal(sh(sandbox, "cat /plain/file"), "sandbox\n")


@case
def ends_by_itself():
    with running() as sandbox:
        sidecar = create(sandbox, "sh", "-c", "sleep 1; exit 9")
        equal(sidecar.poll(), None)
        sidecar.wait()
        equal(sidecar.poll(), 9)
        equal(sandbox.poll(), None)
        equal([one.name for one in sandbox._experimental_sidecars.list()], [])
        equal([one.poll() for one in sandbox._experimental_sidecars.list(include_terminated=True)], [9])


@case
def terminate():
    with running() as sandbox:
        sidecar = create(sandbox, "sleep", "infinity")
        process = sidecar.exec("sh", "-c", "echo kept; sleep 1000")
        eventually(lambda: next(iter(process.stdout)) == "kept\n", "output")
        equal(sidecar.terminate(wait=True), 137)
        sidecar.terminate()
        ended = sandbox._experimental_sidecars.get(name="helper", include_terminated=True)
        raised(exception.SandboxTerminatedError, ended.wait)
        equal(process.wait(), 137)
        raised(exception.NotFoundError, lambda: sidecar.exec("true"))
        raised(exception.NotFoundError, lambda: sandbox._experimental_sidecars.get(name="helper"))
        equal(sandbox.exec("echo", "main").stdout.read(), "main\n")
        assert create(sandbox, "sleep", "infinity").object_id != sidecar.object_id


@case
def names():
    with running() as sandbox:
        first = create(sandbox, "sleep", "infinity", name="one")
        create(sandbox, "sleep", "infinity", name="two")
        equal(sandbox._experimental_sidecars.get(name="one").object_id, first.object_id)
        equal(sorted(one.name for one in sandbox._experimental_sidecars.list()), ["one", "two"])
        raised(exception.AlreadyExistsError, lambda: create(sandbox, "true", name="one"))
        for name in ("main", "", "a/b"):
            raised(exception.InvalidError, lambda: create(sandbox, "true", name=name))
        with running() as other:
            create(other, "sleep", "infinity", name="one")
            equal(len(other._experimental_sidecars.list()), 1)


@case
def what_cannot_start_says_why():
    with running() as sandbox:
        error = raised(exception.ConflictError, lambda: create(sandbox, "no-such-program"))
        assert "no-such-program" in str(error), error
        error = raised(exception.UnimplementedError, lambda: create(sandbox, "true", outbound_cidr_allowlist=[]))
        assert "allow-list" in str(error), error
        equal(sandbox._experimental_sidecars.list(), [])


@case
def ends_with_its_sandbox():
    with running("sh", "-c", "sleep 3") as sandbox:
        sidecar = create(sandbox, "sleep", "infinity")
        process = sidecar.exec("sleep", "1000")
        sandbox.wait()
        equal(process.wait(), 137)
        equal(sidecar.poll(), 137)
        raised(exception.NotFoundError, lambda: create(sandbox, "true", name="late"))


@case
def is_no_sandbox_in_lists():
    with running(tags={"of": "sidecars"}) as sandbox:
        sidecar = create(sandbox, "sleep", "infinity")
        found = [one.object_id for one in modal.Sandbox.list(tags={"of": "sidecars"})]
        equal(found, [sandbox.object_id])
        equal(sidecar.poll(), None)


@case
def an_exec_in_a_sidecar_keeps_its_sandbox_from_being_idle():
    with running(idle_timeout=4) as sandbox:
        sidecar = create(sandbox, "sleep", "infinity")
        equal(sidecar.exec("sleep", "7").wait(), 0)
        sandbox.wait(raise_on_termination=False)
        equal(sidecar.poll(), 137)


run()
