"""Fills the disk of a sandbox again and again, while the server under it comes and goes; told by lines on standard input when."""

import json
import sys

import modal

IMAGE = modal.Image.from_registry("debian:bookworm-slim")
# Until there is no room; how much that was, MiB.
FILL = "rm -f /root/filling; dd if=/dev/zero of=/root/filling bs=1M 2>/dev/null; stat -c %s /root/filling"


def say(**fields):
    print(json.dumps(fields), flush=True)


app = modal.App.lookup("disk", create_if_missing=True)
sandboxes = []


def create():
    sandboxes.append(modal.Sandbox.create("sleep", "3600", app=app, image=IMAGE, timeout=24 * 3600))


create()
say(event="ready")
for line in sys.stdin:
    command = line.strip()
    if command == "create":
        create()
        say(event="done")
    elif command == "fill":
        say(event="filled", sizes=[int(each.exec("sh", "-c", FILL).stdout.read()) >> 20 for each in sandboxes])
    elif command == "terminate":
        for each in sandboxes:
            each.terminate(wait=True)
        say(event="done")
        break
