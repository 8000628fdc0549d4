"""What programs here share that a test tells, by lines on their standard input, what to do; they answer with lines of JSON."""

import json
import sys

import modal

# Of busybox, so that no base has to be made.
image = (
    modal.Image.from_scratch()
    .add_local_file("/bin/busybox", "/bin/busybox", copy=True)
    .dockerfile_commands(['RUN ["/bin/busybox", "--install", "-s", "/bin"]', "ENV PATH=/bin"])
)


def say(**fields):
    print(json.dumps(fields), flush=True)


def heard(line):
    got = sys.stdin.readline().strip()
    assert got == line, f"{got!r} instead of {line!r}"
