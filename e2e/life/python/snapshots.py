"""Snapshots of whole filesystems, under each runtime."""

import concurrent.futures
import re
import struct
import tarfile
import tempfile

import modal
from harness import app, case, create, equal, eventually, raised, run, running, sh


# Two files, and two places of a mapped file, always written one after the other.
WRITER = """
import mmap, os, time
mapped = open("/pair/mapped", "w+b"); mapped.truncate(1 << 20)
view = mmap.mmap(mapped.fileno(), 1 << 20)
number = 0
while True:
    number += 1
    text = b"%012d" % number
    for name in (b"first", b"second"):
        with open(b"/pair/new", "wb") as file: file.write(text * 500)
        os.rename(b"/pair/new", b"/pair/" + name)
    view[:12] = text; view[500000:500012] = text
    if number == 10: print("going", flush=True)
"""
READ_PAIR = """
first, second = (open("/pair/" + name).read() for name in ("first", "second"))
assert len(first) == len(second) == 6000, (len(first), len(second))
assert first == first[:12] * 500 and second == second[:12] * 500
view = open("/pair/mapped", "rb").read()
print(int(first[:12]), int(second[:12]), int(view[:12]), int(view[500000:500012]))
"""


def check_moment(copy):
    process = copy.exec("python3", "-c", READ_PAIR)
    out, err = process.stdout.read(), process.stderr.read()
    equal(process.wait(), 0) if not err else equal(err, "")
    first, second, third, fourth = (int(word) for word in out.split())
    # What is written in this order is at most one behind the one before it, and never ahead.
    for earlier, later in ((first, second), (third, fourth), (second, third)):
        assert earlier - later in (0, 1), out
    return first


@case
def a_snapshot_is_one_moment_of_a_program_that_writes_all_the_time():
    with running() as sandbox:
        sh(sandbox, "mkdir /pair; head -c 100000000 /dev/urandom > /pair/bulk; sha256sum /pair/bulk > /pair/sum")
        writer = sandbox.exec("python3", "-c", WRITER)
        equal(next(iter(writer.stdout)), "going\n")
        image = sandbox.snapshot_filesystem()
        with running(image=image) as copy:
            moment = check_moment(copy)
            sh(copy, "sha256sum -c /pair/sum")
        # It was not held up for good.
        eventually(lambda: int(sandbox.exec("head", "-c", "12", "/pair/first").stdout.read()) > moment + 100, "it goes on")


@case
def a_program_that_was_unpacked_keeps_the_capabilities_of_its_file():
    # CAP_NET_RAW from its start, as `ping` has it: linux/capability.h, vfs_cap_data.
    capability = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)
    with tempfile.TemporaryDirectory() as directory, open("/bin/busybox", "rb") as file:
        with tarfile.open(f"{directory}/capable.tar", "w", format=tarfile.PAX_FORMAT) as archive:
            info = archive.gettarinfo(fileobj=file, arcname="busybox")
            info.pax_headers = {"SCHILY.xattr.security.capability": capability.decode()}
            archive.addfile(info, file)
        # The client sends what a COPY names.
        commands = ["COPY capable.tar /", "ADD capable.tar /bin/", "USER 65534"]
        image = modal.Image.from_scratch().dockerfile_commands(commands, context_dir=directory).build(app)
    for _ in range(2):
        with running("/bin/busybox", "sleep", "300", image=image) as sandbox:
            status = sandbox.exec("/bin/busybox", "grep", "-E", "^(Uid|CapEff)", "/proc/self/status").stdout.read()
            equal(status.split(), ["Uid:", *["65534"] * 4, "CapEff:", "0000000000002000"])
            image = sandbox.snapshot_filesystem()


@case
def a_snapshot_lives_as_long_as_it_was_asked_to():
    with running() as sandbox:
        sh(sandbox, "echo kept > /kept")
        short = sandbox.snapshot_filesystem(ttl=20)
        user = create(image=short)  # what runs on it goes on
        long, ever = (sandbox.snapshot_filesystem(ttl=ttl) for ttl in (3600, None))
        try:
            equal(sh(user, "cat /kept"), "kept\n")
            eventually(lambda: _is_gone(short), "it expires", seconds=120)
            equal(sh(user, "cat /kept"), "kept\n")
            onwards = user.snapshot_filesystem()
        finally:
            user.terminate()
        for image in (long, ever, onwards):
            with running(image=image) as copy:
                equal(sh(copy, "cat /kept"), "kept\n")


def _is_gone(image):
    try:
        create(image=image).terminate()
    except modal.exception.NotFoundError:
        return True


@case
def the_fiftieth_of_a_chain_of_snapshots_has_everything_and_few_layers():
    image = None
    for number in range(1, 51):
        with running(**({"image": image} if image else {})) as sandbox:
            sh(sandbox, f"mkdir -p /chain; echo {number} > /chain/{number}; rm -f /doomed-{number - 1}; touch /doomed-{number}; echo {number} > /last")
            image = sandbox.snapshot_filesystem()
    with running(image=image) as sandbox:
        equal(sh(sandbox, "cd /chain; cat $(seq 50); cat /last; ls -d /doomed-*").split(), [*map(str, range(1, 51)), "50", "/doomed-50"])
        with running():
            counts = _layer_counts()
        assert max(counts) <= min(counts) + 16, counts


def _layer_counts():
    """Of the sandboxes on this machine, as the kernel shows their mounts."""
    lines = [line for line in open("/proc/self/mountinfo") if "/rootfs " in line and " overlay " in line]
    return [re.search(r"[ ,]lowerdir=([^ ,]*)", line)[1].count(":") + 1 for line in lines]


EXIT_SNAPSHOT = {"enable_exit_snapshot": True}


@case
def an_exit_snapshot_holds_what_the_entrypoint_left():
    # What is written through a mapping, and a FIFO, are the kernel's of the sandbox until somebody asks for them.
    program = "import mmap, os; file = open('/left', 'w+b'); file.truncate(4096); mmap.mmap(file.fileno(), 0)[:5] = b'mine\\n'; os.mkfifo('/fifo')"
    sandbox = create("python3", "-c", program, experimental_options=EXIT_SNAPSHOT)
    image = sandbox._experimental_get_exit_snapshot()
    sandbox.wait()
    equal(sandbox.returncode, 0)
    equal(sandbox._experimental_get_exit_snapshot(timeout=0).object_id, image.object_id)
    with running(image=image) as copy:
        equal(sh(copy, "head -c 5 /left; test -p /fifo && echo fifo"), "mine\nfifo\n")


@case
def an_exit_snapshot_is_pending_while_the_sandbox_runs_and_taken_when_it_is_terminated():
    sandbox = create(experimental_options=EXIT_SNAPSHOT)
    sh(sandbox, "echo kept > /kept")
    raised(modal.exception.TimeoutError, lambda: sandbox._experimental_get_exit_snapshot(timeout=0))
    raised(modal.exception.TimeoutError, lambda: sandbox._experimental_get_exit_snapshot(timeout=1))
    sandbox.terminate()
    image = modal.Sandbox.from_id(sandbox.object_id)._experimental_get_exit_snapshot()
    with running(image=image, experimental_options=EXIT_SNAPSHOT) as again:
        equal(sh(again, "cat /kept; echo more >> /kept"), "kept\n")
        again.terminate()
        image = again._experimental_get_exit_snapshot()
    with running(image=image) as third:
        equal(sh(third, "cat /kept"), "kept\nmore\n")


@case
def no_exit_snapshot_is_told():
    with running() as sandbox:
        error = raised(modal.exception.InvalidError, sandbox._experimental_get_exit_snapshot)
        assert "enable_exit_snapshot" in str(error), error
        with running(experimental_options={"enable_exit_snapshot": False}) as other:
            raised(modal.exception.InvalidError, other._experimental_get_exit_snapshot)


@case
def terminate_does_not_wait_for_a_snapshot():
    for take in (lambda sandbox: sandbox.snapshot_filesystem(), lambda sandbox: sandbox.snapshot_directory("/data")):
        sandbox = create(timeout=300)
        sh(sandbox, "mkdir /data; head -c 200000000 /dev/urandom > /data/bulk")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            snapshot = pool.submit(take, sandbox)
            sandbox.terminate()
            sandbox.wait(raise_on_termination=False)
            try:
                snapshot.result()
            except modal.exception.NotFoundError:
                pass


run()
