"""Sandboxes whose disks are together larger than the machine's write until there is no room; told by lines on standard input when."""

import io
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import modal
import modal.experimental

BASE = modal.Image.from_registry("python:3.11-slim")
KEEP = "head -c 16M /dev/urandom > /root/kept; sync; sha256sum < /root/kept"
# Any other error than of no room would be a disk that lost what it had taken.
FILL = """
import errno, os
block, written = os.urandom(1 << 20), 0
try:
    with open("/root/filling", "wb", buffering=0) as file:
        while True:
            written += file.write(block)
            if written % (8 << 20) == 0: os.fsync(file)
except OSError as error:
    assert error.errno in (errno.ENOSPC, errno.EDQUOT), error
descriptor = os.open("/root/filling", os.O_WRONLY)
os.fsync(descriptor)
print(written >> 20)
"""

app = modal.App.lookup("shared-disk", create_if_missing=True)


def say(**fields):
    print(json.dumps(fields), flush=True)


def sandbox():
    return modal.Sandbox.create("sleep", "3600", app=app, image=BASE, timeout=24 * 3600)


def output(of, *command):
    process = of.exec(*command)
    out, err = process.stdout.read(), process.stderr.read()
    assert process.wait() == 0, err
    return out.strip()


def each(*command):
    with ThreadPoolExecutor(len(sandboxes)) as pool:
        return list(pool.map(lambda of: output(of, *command), sandboxes))


def upload(version, mebibytes):
    """Sends a file to a volume of its own; the error there was."""
    try:
        with modal.Volume.ephemeral(version=version) as volume:
            content = os.urandom(mebibytes << 20)
            with volume.batch_upload() as batch:
                batch.put_file(io.BytesIO(content), "file")
            assert b"".join(volume.read_file("file")) == content
            return None
    except modal.exception.ResourceExhaustedError as error:
        return str(error)


sandboxes = [sandbox(), sandbox()]
kept = each("sh", "-ec", KEEP)
say(event="ready")
for line in sys.stdin:
    command, *given = line.split()
    if command == "fill":
        say(event="filled", sizes=[int(size) for size in each("python3", "-c", FILL)])
    elif command == "look":
        say(event="kept", same=each("sh", "-ec", "sync; sha256sum < /root/kept") == kept)
    elif command == "create":
        try:
            made = sandbox()
            output(made, "true")
            made.terminate(wait=True)
            say(event="created", error=None)
        except Exception as error:
            say(event="created", error=str(error))
    elif command == "snapshot":
        try:
            modal.experimental.image_delete(sandboxes[0].snapshot_filesystem().object_id)
            say(event="snapshot", error=None)
        except modal.exception.Error as error:
            say(event="snapshot", error=str(error))
    elif command == "upload":
        say(event="uploaded", errors=[upload(version, int(given[0])) for version in map(int, given[1:])])
    elif command == "free":
        each("sh", "-ec", "rm /root/filling; sync")
        say(event="freed")
