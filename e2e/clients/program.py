"""What every release of the Python client since 0.64 can do: create, exec, output, a file, a volume's files, terminate. Prints one line of JSON when all of it worked."""

import contextlib
import hashlib
import io
import json

import modal


@contextlib.contextmanager
def application():
    """An app that sandboxes can be made in; the first releases have none that outlives the program."""
    if hasattr(modal.App, "lookup"):
        yield modal.App.lookup("every-client", create_if_missing=True)
    else:
        with modal.App("every-client").run() as app:
            yield app


def write_and_read(sandbox):
    """How this release writes files, and what it read back."""
    if hasattr(sandbox, "filesystem"):
        sandbox.filesystem.write_text("text", "/tmp/file")
        return "filesystem", sandbox.filesystem.read_text("/tmp/file")
    if hasattr(sandbox, "open"):
        with sandbox.open("/tmp/file", "w") as file:
            file.write("text")
        with sandbox.open("/tmp/file", "r") as file:
            return "open", file.read()
    return "exec only", sandbox.exec("sh", "-c", "printf text > /tmp/file; cat /tmp/file").stdout.read()


def volume_keeps_files(app, image):
    """One that fits into an answer and one that does not: releases up to 0.77 read both by calls that no later one has."""
    script = "head -c 9000000 /dev/urandom > /volume/large; sha256sum < /volume/large"
    with modal.Volume.ephemeral() as volume:
        with volume.batch_upload() as batch:
            batch.put_file(io.BytesIO(b"text"), "small")
        assert b"".join(volume.read_file("small")) == b"text"
        # Not sent: what the first releases send as a blob they find damaged, with an aiohttp of today.
        sandbox = modal.Sandbox.create("sh", "-c", script, app=app, image=image, volumes={"/volume": volume}, timeout=120)
        sandbox.wait()
        digest = sandbox.stdout.read().split()[0]
        assert hashlib.sha256(b"".join(volume.read_file("large"))).hexdigest() == digest
        if hasattr(volume, "read_file_into_fileobj"):
            file = io.BytesIO()
            assert volume.read_file_into_fileobj("large", file) == 9000000
            assert hashlib.sha256(file.getvalue()).hexdigest() == digest


with application() as app:
    image = modal.Image.from_registry("python:3.11-slim")
    script = "echo out; echo err >&2; exit 3"
    if hasattr(modal.Sandbox, "exec"):
        sandbox = modal.Sandbox.create("sleep", "120", app=app, image=image, timeout=120)
        process = sandbox.exec("sh", "-c", script)
        found = (process.stdout.read(), process.stderr.read(), process.wait())
        files, text = write_and_read(sandbox)
        assert text == "text", text
    else:
        sandbox = modal.Sandbox.create("sh", "-c", script, app=app, image=image, timeout=120)
        sandbox.wait()
        found = (sandbox.stdout.read(), sandbox.stderr.read(), sandbox.returncode)
        files = "none: it has no exec"
    assert found == ("out\n", "err\n", 3), found
    volume_keeps_files(app, image)
    sandbox.terminate()
    sandbox.wait(raise_on_termination=False)
    assert sandbox.poll() is not None
print(json.dumps({"version": modal.__version__, "files": files}))
