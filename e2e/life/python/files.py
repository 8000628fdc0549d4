"""Files that are hard: names of any kind, what is no regular file, no room, no right, a root that is gone, and more bytes than fit into memory."""

import contextlib
import hashlib
import os
import tempfile

import modal
from harness import case, equal, raised, run, running, sh, shared

RUNTIME = os.environ["LIFE_RUNTIME"]
#: MiB of the large file; the server's bound on output is smaller than two of them.
LARGE_MIB = int(os.environ["LIFE_LARGE_MIB"])

Error = modal.exception.SandboxFilesystemError
NotFound = modal.exception.SandboxFilesystemNotFoundError
NotADirectory = modal.exception.SandboxFilesystemNotADirectoryError
Permission = modal.exception.SandboxFilesystemPermissionError
TooLarge = modal.exception.SandboxFilesystemFileTooLargeError


def says(error, words, call):
    found = raised(error, call)
    assert type(found) is error and words in str(found), repr(found)


@case
def names_may_have_any_character():
    files = shared().filesystem
    longest = "n" * 255
    for name in ("two\nlines", "tab\tand \"quotes\" and '", "-rf", "~", "$(date)", "\\n", "ünïcödé 🦀", " ", longest, "é" * 127):
        path = f"/odd/{name}"
        files.write_text(name, path)
        equal(files.read_text(path), name)
        entry = files.stat(path)
        equal((entry.name, entry.path, entry.size), (name, path, len(name.encode())))
        equal([found.name for found in files.list_files("/odd")], [name])
        equal(sh(shared(), 'cd /odd; for name in *; do cat -- "$name"; done'), name)
        files.remove(path)
    says(Error, "File name too long", lambda: files.write_text("", "/odd/" + "n" * 256))
    # A name that is no text is listed as far as it is, and does not hide the others.
    sh(shared(), r"""cd /odd; touch "$(printf 'not \377 text')" text""")
    equal([entry.name for entry in files.list_files("/odd")], ["not \ufffd text", "text"])
    files.remove("/odd", recursive=True)
    says(NotFound, "/odd", lambda: files.stat("/odd"))


@case
def deep_paths_and_links_that_go_round():
    files = shared().filesystem
    deep = "/deep" + "/directory" * 300
    files.write_text("down here", deep + "/file")
    equal(files.read_text(deep + "/file"), "down here")
    says(Error, "File name too long", lambda: files.read_text("/deep" + "/directory" * 500))
    files.remove("/deep", recursive=True)
    sh(shared(), "mkdir /round; cd /round; ln -s two one; ln -s one two; ln -s . here")
    for call in (files.read_text, files.list_files):
        says(Error, "Too many levels of symbolic links", lambda: call("/round/one"))
    says(NotADirectory, "/round/one/below", lambda: files.write_text("x", "/round/one/below"))
    equal([entry.symlink_target for entry in files.list_files("/round")], [".", "two", "one"])
    equal(files.stat("/round/one").symlink_target, "two")
    equal(len(files.list_files("/round/here/here/here")), 3)
    files.remove("/round", recursive=True)


@case
def only_regular_files_are_read():
    files = shared().filesystem
    sh(shared(), "mkdir /kinds; cd /kinds; mkfifo pipe; mkdir directory; echo content > file; ln -s pipe link")
    sh(shared(), "python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('/kinds/socket')\"")
    for path in ("/kinds/pipe", "/kinds/link", "/kinds/socket", "/dev/zero", "/dev/null"):
        says(Error, "Not a regular file", lambda: files.read_bytes(path))
    says(modal.exception.SandboxFilesystemIsADirectoryError, "/kinds/directory", lambda: files.read_text("/kinds/directory"))
    says(NotADirectory, "/kinds/file", lambda: files.list_files("/kinds/file"))
    # Nobody reads from the pipe: it is told, and stays a pipe.
    says(Error, "No program reads from this pipe", lambda: files.write_text("x", "/kinds/pipe"))
    reader = shared().exec("cat", "/kinds/pipe")
    sh(shared(), "while ! grep -qs /kinds/pipe /proc/[0-9]*/cmdline; do :; done")
    while True:  # the reader may not have opened it yet
        try:
            files.write_text("through", "/kinds/pipe")
            break
        except Error as error:
            assert "No program reads" in str(error), error
    equal((reader.stdout.read(), files.stat("/kinds/pipe").type.value), ("through", "file"))
    files.write_text("goes nowhere", "/dev/null")
    equal(sh(shared(), "test -c /dev/null; test -p /kinds/pipe; echo as they were"), "as they were\n")
    # It has no size to be told, and is a regular file all the same.
    assert "MemTotal" in files.read_text("/proc/meminfo")


@case
def no_right():
    with modal.Volume.ephemeral() as volume, running(volumes={"/data": volume.with_mount_options(read_only=True)}) as sandbox:
        files = sandbox.filesystem
        for call in (
            lambda: files.write_text("x", "/data/file"),
            lambda: files.make_directory("/data/directory"),
            lambda: files.write_text("x", "/data/new/file"),
        ):
            says(Permission, "Read-only file system", call)


@case(alone=True)
def no_room():
    with running() as sandbox, tempfile.NamedTemporaryFile() as local:
        local.write(os.urandom(4 << 20))
        local.flush()
        files = sandbox.filesystem
        files.write_text("old", "/work/file")
        sh(sandbox, "fallocate -l $(( $(df -m --output=avail / | tail -1) - 2 ))M /filling; sync")
        for call in (
            lambda: files.write_bytes(os.urandom(4 << 20), "/work/file"),
            lambda: files.write_bytes(os.urandom(4 << 20), "/work/other"),
            lambda: files.copy_from_local(local.name, "/work/file"),
        ):
            says(Error, "No space left on device", call)
        equal([(entry.name, entry.size) for entry in files.list_files("/work")], [("file", 3)])
        files.remove("/filling")
        files.copy_from_local(local.name, "/work/file")
        equal(files.stat("/work/file").size, 4 << 20)


@case
def a_sandbox_whose_root_was_deleted():
    with running("sleep", "300") as sandbox:
        files = sandbox.filesystem
        sandbox.exec("sh", "-c", "rm -rf --no-preserve-root / 2>/dev/null").wait()
        says(NotFound, "/etc/passwd", lambda: files.read_text("/etc/passwd"))
        files.write_text("still here", "/some/where")
        equal((files.read_text("/some/where"), files.stat("/some/where").size), ("still here", 10))
        files.make_directory("/a/b/c")
        assert {"a", "some"} <= {entry.name for entry in files.list_files("/")}
        files.remove("/a", recursive=True)
        says(NotFound, "/a", lambda: files.stat("/a"))


def _server_memory_mib(peak):
    with open(f"/proc/{os.environ['LIFE_SERVER_PID']}/status") as status:
        return int(next(line for line in status if line.startswith("VmHWM" if peak else "VmRSS")).split()[1]) >> 10


def _reset_peak():
    with open(f"/proc/{os.environ['LIFE_SERVER_PID']}/clear_refs", "w") as file:
        file.write("5")


@contextlib.contextmanager
def _large_file():
    """Not compressible, not periodic in any buffer's size."""
    with tempfile.NamedTemporaryFile() as file:
        digest = hashlib.sha256()
        for number in range(LARGE_MIB):
            piece = hashlib.shake_128(str(number).encode()).digest(1 << 20)
            digest.update(piece)
            file.write(piece)
        file.flush()
        yield file.name, digest.hexdigest()


@case(alone=True)
def large_files_go_through_in_both_directions_with_flat_memory():
    with _large_file() as (path, digest), running() as sandbox:
        files = sandbox.filesystem
        _reset_peak()
        before = _server_memory_mib(peak=False)
        files.copy_from_local(path, "/large")
        equal(sh(sandbox, "sha256sum /large").split()[0], digest)
        with tempfile.TemporaryDirectory() as directory:
            # Each is more than half of what the server keeps of a sandbox: what was read makes room.
            for number in range(3):
                files.copy_to_local("/large", f"{directory}/{number}")
                with open(f"{directory}/{number}", "rb") as file:
                    equal(hashlib.file_digest(file, "sha256").hexdigest(), digest)
                os.unlink(f"{directory}/{number}")
        grown = _server_memory_mib(peak=True) - before
        assert grown < 200, f"the server grew by {grown} MiB"
        # What never fits is told, and not waited for.
        sh(sandbox, f"truncate -s {4 * LARGE_MIB}M /sparse")
        says(TooLarge, "larger than", lambda: files.copy_to_local("/sparse", "/dev/null"))


@case
def watching_tells_what_happens_and_ends():
    files = shared().filesystem
    files.make_directory("/watched/below")
    writer = shared().exec("sh", "-c", "until [ -e /watched/stop ]; do echo x >/watched/below/file; sleep 0.05; done")
    for event in files.watch("/watched", recursive=True):
        if "/watched/below/file" in event.paths:
            break
    files.write_text("", "/watched/stop")
    equal(writer.wait(), 0)
    equal(list(files.watch("/watched", timeout=1)), [])
    says(NotFound, "/nothing", lambda: list(files.watch("/nothing")))


run()
