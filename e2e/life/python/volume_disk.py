"""What bounds what a sandbox writes in a volume: its own and nobody else's, and nothing of it is lost."""

import hashlib
import os
import uuid

import modal
from filling import make_files
from harness import case, create, equal, python, run, running, sh

SIZE_MIB = int(os.environ["LIFE_VOLUME_DISK_MIB"])
FILES = int(os.environ["LIFE_VOLUME_DISK_FILES"])

FILL = """
import errno, hashlib, os, sys
written, digest = 0, hashlib.sha256()
try:
    with open("/data/filling", "wb", buffering=0) as file:
        while True:
            block = os.urandom(1 << 16)
            written += file.write(block)
            digest.update(block)
            if written % (8 << 20) == 0: os.fsync(file)
except OSError as error:
    assert error.errno in (errno.ENOSPC, errno.EDQUOT), error
os.truncate("/data/filling", written)
print(written >> 20, digest.hexdigest())
"""


def fresh():
    return modal.Volume.from_name(f"bounded-{uuid.uuid4().hex[:12]}", create_if_missing=True)


def fill(sandbox):
    """Writes until there is no room; how much that was, MiB, and its hash."""
    return python(sandbox, FILL).split()


def near(found, expected):
    assert 0.85 * expected <= int(found) <= 1.3 * expected, (found, expected)


@case
def who_fills_it_is_told_so_and_nobody_else_and_all_of_it_is_in_the_volume():
    volume = fresh()
    full, neighbour = create(volumes={"/data": volume}), create(volumes={"/data": volume})
    mib, digest = fill(full)
    near(mib, SIZE_MIB)
    # Its root is another disk, and the other one's volume another tree.
    sh(full, "head -c 8M /dev/urandom > /root/data; sync")
    sh(neighbour, "head -c 8M /dev/urandom > /data/others; sync")
    code = full.exec("sh", "-c", "head -c 1M /dev/urandom > /data/more").wait()
    assert code != 0
    volume.commit()
    neighbour.terminate(wait=True)
    full.terminate(wait=True)
    found = hashlib.sha256()
    for piece in volume.read_file("filling"):
        found.update(piece)
    equal(found.hexdigest(), digest)
    assert {"filling", "others"} <= {entry.path for entry in volume.listdir("/")}


@case
def with_files_gone_there_is_room_again():
    with running(volumes={"/data": fresh()}) as sandbox:
        near(fill(sandbox)[0], SIZE_MIB)
        sh(sandbox, "rm -f /data/*")
        near(fill(sandbox)[0], SIZE_MIB)


@case
def the_number_of_files_is_bounded():
    with running(volumes={"/data": fresh()}) as sandbox:
        near(make_files(sandbox, "/data/many"), FILES)


@case
def what_the_volume_has_does_not_count():
    volume = fresh()
    for _ in range(3):
        with running(volumes={"/data": volume}) as sandbox:
            sh(sandbox, f"head -c {SIZE_MIB * 2 // 3}M /dev/urandom > /data/$(cat /proc/sys/kernel/random/uuid)")
            sandbox.terminate(wait=True)
    equal(len(list(volume.listdir("/"))), 3)


run()
