"""`Sandbox.open` and its family, which clients up to 1.5 have, on what is hard: odd names and kinds, no right, no room, no root, 5 GB."""

import os

import modal
from harness import case, create, equal, raised, run, running, sh
from modal.file_io import delete_bytes, replace_bytes

_volume = modal.Volume.from_name("read-only-for-open", create_if_missing=True)
_sandbox = create(volumes={"/data": _volume.read_only()})


def says(error, words, call):
    found = raised(error, call)
    assert words in str(found), repr(found)


def write(path, content, mode="w", sandbox=_sandbox):
    with sandbox.open(path, mode) as file:
        file.write(content)


def read(path, mode="r", sandbox=_sandbox):
    with sandbox.open(path, mode) as file:
        return file.read()


@case
def names_may_have_any_character():
    longest = "n" * 255
    for name in ("two\nlines", "tab\tand \"quotes\" and '", "-rf", "~", "$(date)", "ünïcödé 🦀", " ", longest):
        path = f"/odd/{name}"
        write(path, name)
        equal(read(path), name)
        equal(_sandbox.ls("/odd"), [name])
        _sandbox.rm(path)
    says(OSError, "File name too long", lambda: _sandbox.open("/odd/" + "n" * 256, "w"))
    # A name that is no text is listed as far as it is, and does not hide the others.
    sh(_sandbox, r"""cd /odd; touch "$(printf 'not \377 text')" text""")
    equal(sorted(_sandbox.ls("/odd")), ["not \ufffd text", "text"])
    _sandbox.rm("/odd", recursive=True)
    says(FileNotFoundError, "/odd", lambda: _sandbox.ls("/odd"))


@case
def deep_paths_and_links_that_go_round():
    deep = "/deep" + "/directory" * 300
    write(deep + "/file", "down here")
    equal(read(deep + "/file"), "down here")
    _sandbox.rm("/deep", recursive=True)
    sh(_sandbox, "mkdir /round; cd /round; ln -s two one; ln -s one two; ln -s . here; echo x > file")
    for mode in "rwa":
        says(OSError, "Too many levels of symbolic links", lambda: _sandbox.open("/round/one", mode))
    says(OSError, "Too many levels of symbolic links", lambda: _sandbox.ls("/round/one"))
    equal(len(_sandbox.ls("/round/here/here/here")), 4)
    equal(read("/round/here/here/file"), "x\n")
    _sandbox.rm("/round", recursive=True)


@case
def only_regular_files_are_read():
    sh(_sandbox, "mkdir /kinds; cd /kinds; mkfifo pipe; mkdir directory; echo content > file; ln -s pipe link")
    for path in ("/kinds/pipe", "/kinds/link", "/dev/zero", "/dev/null"):
        says(OSError, "Not a regular file", lambda: _sandbox.open(path, "r"))
    for mode in "rwa":
        says(IsADirectoryError, "/kinds/directory", lambda: _sandbox.open("/kinds/directory", mode))
    says(NotADirectoryError, "/kinds/file", lambda: _sandbox.ls("/kinds/file"))
    # Nobody reads from the pipe: it is told, and stays a pipe.
    says(OSError, "No program reads from this pipe", lambda: _sandbox.open("/kinds/pipe", "w"))
    write("/dev/null", "goes nowhere")
    equal(sh(_sandbox, "test -c /dev/null; test -p /kinds/pipe; echo as they were"), "as they were\n")
    # It has no size to be told, and is a regular file all the same.
    assert "MemTotal" in read("/proc/meminfo")
    _sandbox.rm("/kinds", recursive=True)


@case
def no_right():
    for call in (
        lambda: _sandbox.open("/data/file", "w"),
        lambda: _sandbox.open("/data/new/file", "x"),
        lambda: _sandbox.mkdir("/data/directory"),
    ):
        says(PermissionError, "Read-only file system", call)
    says(FileNotFoundError, "/data/file", lambda: _sandbox.open("/data/file", "r+"))


@case
def bytes_are_replaced_and_deleted_and_seeks_are_those_of_python():
    write("/edited", "0123456789")
    with _sandbox.open("/edited", "r+") as file:
        replace_bytes(file, b"abc", start=1, end=2)
        delete_bytes(file, start=0, end=1)
        file.seek(-2, 2)
        equal(file.read(), "89")
        file.seek(0)
        equal(file.readline(), "abc23456789")
        says(OSError, "before the start", lambda: file.seek(-100, 1))
        file.flush()
        equal(read("/edited"), "abc23456789")
    with _sandbox.open("/edited", "ab") as file:
        file.write("é\nend".encode())
    with _sandbox.open("/edited") as file:
        equal((file.readline(), file.readlines()), ("abc23456789é\n", ["end"]))


@case
def watching_tells_what_happens_and_ends():
    _sandbox.mkdir("/watched/below", parents=True)
    writer = _sandbox.exec("sh", "-c", "until [ -e /watched/stop ]; do echo x >/watched/below/file; sleep 0.05; done")
    for event in _sandbox.watch("/watched", recursive=True):
        if "/watched/below/file" in event.paths:
            break
    write("/watched/stop", "")
    equal(writer.wait(), 0)
    equal(list(_sandbox.watch("/watched", timeout=1)), [])
    says(FileNotFoundError, "/nothing", lambda: list(_sandbox.watch("/nothing")))


@case(alone=True)
def a_file_of_5_gb_is_refused_at_once():
    """Open files are kept by the server: what it would not keep is told, and neither read nor written."""
    sh(_sandbox, "truncate -s 5G /large")
    before = _server_memory_mib()
    for mode in ("r", "r+", "a"):
        says(OSError, "larger than", lambda: _sandbox.open("/large", mode))
    with _sandbox.open("/large", "w") as file:
        says(OSError, "too large", lambda: file.seek(2**31 - 1))
    equal(sh(_sandbox, "stat -c %s /large"), "0\n")
    assert _server_memory_mib() - before < 100


def _server_memory_mib():
    with open(f"/proc/{os.environ['LIFE_SERVER_PID']}/status") as status:
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1]) >> 10


@case(alone=True)
def a_full_disk_costs_nothing_of_what_is_there():
    write("/old", "old " * 1000)
    # 6 MiB stay: enough for the new content beside the old file, not for both and a copy.
    left = "df -m --output=avail / | tail -1"
    sh(_sandbox, f"fallocate -l $(( $({left}) - 6 ))M /filling; sync")
    for size in (4, 8):
        file = _sandbox.open("/old", "r+b")
        file.write(os.urandom(size << 20))
        says(OSError, "No space left", file.flush)
        equal(read("/old"), "old " * 1000)
        says(OSError, "No space left", file.close)
        says(OSError, "No space left", lambda: write("/fresh", os.urandom(8 << 20), "wb"))
    sh(_sandbox, "head -c 8M /dev/zero > /rest || true")
    says(OSError, "No space left", lambda: write("/old", os.urandom(1 << 20), "ab"))
    equal(read("/old"), "old " * 1000)
    # Nothing half-written is left: neither beside the file nor as it.
    equal(sh(_sandbox, "stat -c %s /fresh; ls -a / | grep skerry-write || true"), "0\n")
    sh(_sandbox, "rm /filling /rest")
    write("/old", "new")
    equal(read("/old"), "new")


@case
def a_sandbox_whose_root_was_deleted():
    with running("sleep", "300") as sandbox:
        sandbox.exec("sh", "-c", "rm -rf --no-preserve-root / 2>/dev/null").wait()
        says(FileNotFoundError, "/etc/passwd", lambda: sandbox.open("/etc/passwd", "r"))
        write("/some/where", "still here", sandbox=sandbox)
        equal(read("/some/where", sandbox=sandbox), "still here")
        sandbox.mkdir("/a/b/c", parents=True)
        assert {"a", "some"} <= set(sandbox.ls("/"))
        sandbox.rm("/a", recursive=True)
        says(FileNotFoundError, "/a", lambda: sandbox.ls("/a"))


run()
