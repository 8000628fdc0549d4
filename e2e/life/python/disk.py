"""What bounds a sandbox's files: room and number, its own and nobody else's."""

import os

import modal
from filling import make_files
from harness import app, case, create, equal, python, raised, run, running, sh

# What the server was started with.
SIZE_MIB = int(os.environ["LIFE_DISK_MIB"])
FILES = int(os.environ["LIFE_DISK_FILES"])
MAX_MIB = int(os.environ["LIFE_DISK_MAX_MIB"])
DATA_DIR = os.environ["LIFE_DATA_DIR"]

FILL = """
import errno, os, sys
directory, block, written = sys.argv[1], os.urandom(1 << 20), 0
try:
    with open(os.path.join(directory, "filling"), "wb", buffering=0) as file:
        while True:
            written += file.write(block)
            if written % (16 << 20) == 0: os.fsync(file)
except OSError as error:
    assert error.errno in (errno.ENOSPC, errno.EDQUOT), error
print(written >> 20)
"""


def fill(sandbox, directory="/root"):
    """Writes until there is no room; how much that was, MiB."""
    return int(python(sandbox, FILL, directory))


def near(found, expected):
    assert 0.9 * expected <= found <= 1.1 * expected, (found, expected)


def on_disk():
    """Bytes that all files of all sandboxes take in the data directory."""
    total = 0
    for name in ("disks", "instances"):
        for path, _, files in os.walk(os.path.join(DATA_DIR, name)):
            for file in files:
                try:
                    total += os.lstat(os.path.join(path, file)).st_blocks * 512
                except FileNotFoundError:
                    pass
    return total


@case
def a_sandbox_that_names_no_size_has_the_default_one():
    with running() as sandbox:
        near(fill(sandbox), SIZE_MIB)


@case
def a_sandbox_has_the_size_it_asks_for():
    asked = SIZE_MIB // 2
    with running(experimental_options={"ephemeral_disk": asked}) as sandbox:
        near(fill(sandbox), asked)


@case
def the_number_of_files_is_bounded():
    with running() as sandbox:
        near(make_files(sandbox, "/root/many"), FILES)
        # Its own programs run on, and with files gone there is room for others.
        sh(sandbox, "rm -r /root/many; echo again > /root/file; cat /root/file")


@case
def all_it_writes_counts_together():
    """What one directory takes is not there for another."""
    with running() as sandbox:
        places = ["/tmp", "/var/tmp", "/root", "/usr/local/lib", "/made/by/it"]
        sh(sandbox, "mkdir -p /made/by/it")
        sizes = [fill(sandbox, place) for place in places]
        near(sizes[0], SIZE_MIB)
        assert sum(sizes[1:]) <= 8, sizes
        # The files that the server puts in for it are its own to change, and are on the same disk.
        sh(sandbox, "rm /tmp/filling; echo '192.0.2.1 elsewhere' >> /etc/hosts")
        before = int(sh(sandbox, "stat -f -c %a /root"))
        sh(sandbox, "head -c 16M /dev/urandom >> /etc/hosts; sync")
        after = int(sh(sandbox, "stat -f -c %a /root"))
        assert before - after >= 16 << 8, (before, after)


@case
def nobody_else_notices_and_there_is_room_again_after_files_are_gone():
    with running() as full, running() as neighbour:
        near(fill(full), SIZE_MIB)
        assert fill(full, "/tmp") <= 2
        sh(neighbour, "head -c 40M /dev/urandom > /root/data; sync; test $(stat -c %s /root/data) = 41943040")
        with running() as later:
            equal(later.exec("echo", "hello").stdout.read(), "hello\n")
        # It still runs programs, which say what they have to say.
        equal(full.exec("echo", "alive").stdout.read(), "alive\n")
        code = full.exec("sh", "-c", "head -c 8M /dev/zero > /root/more").wait()
        assert code != 0
        sh(full, "rm -f /root/filling /tmp/filling /root/more")
        near(fill(full), SIZE_MIB)


@case(alone=True)
def the_end_of_a_sandbox_frees_what_it_wrote():
    with running():  # what is made ahead is there
        before = on_disk()
        sandbox = create()
        fill(sandbox)
        sh(sandbox, "sync")
        full = on_disk()
        assert full - before > (SIZE_MIB // 2) << 20, (before, full)
        sandbox.terminate(wait=True)
        assert on_disk() - before < 16 << 20, (before, full, on_disk())


@case(alone=True)
def files_that_a_sandbox_removes_give_their_room_back_to_the_machine():
    with running() as sandbox:
        fill(sandbox)
        sh(sandbox, "sync")
        full = on_disk()
        sh(sandbox, "rm /root/filling; sync")
        for _ in range(100):
            if full - on_disk() > (SIZE_MIB // 2) << 20:
                return
            sh(sandbox, "sync; sleep 0.2")
        raise AssertionError((full, on_disk()))


@case
def a_snapshot_of_a_full_sandbox_is_whole():
    with running() as sandbox:
        sh(sandbox, "head -c 24M /dev/urandom > /root/data")
        fill(sandbox, "/tmp")
        digest = sh(sandbox, "sha256sum < /root/data")
        image = sandbox.snapshot_filesystem()
    # Half of its disk would not hold it: what an image has does not count.
    made = modal.Sandbox.create(app=app, image=image, experimental_options={"ephemeral_disk": 32})
    try:
        equal(sh(made, "sha256sum < /root/data"), digest)
        near(fill(made, "/var/tmp"), 32)
    finally:
        made.terminate()


@case
def images_mounted_into_it_count():
    with running() as sandbox:
        sh(sandbox, "mkdir /source && echo of-the-image > /source/file")
        image = sandbox.snapshot_directory("/source")
        sandbox.mount_image("/mounted", image)
        equal(sh(sandbox, "cat /mounted/file"), "of-the-image\n")
        near(fill(sandbox, "/mounted"), SIZE_MIB)
        assert fill(sandbox) <= 2


@case
def what_the_server_does_not_allow_is_refused_by_name():
    def asking(value):
        return lambda: create(experimental_options={"ephemeral_disk": value})

    for value, word in [(MAX_MIB + 1, "maxDiskMiB"), (8, "at least"), ("much", "ephemeral_disk"), (-1, "ephemeral_disk")]:
        error = raised(modal.exception.InvalidError, asking(value))
        assert word in str(error), error


run()
