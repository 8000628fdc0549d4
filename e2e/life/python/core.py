"""What every Python client from 1.0.5 to the current one does with sandboxes, in the calls they have in common."""

import os
import subprocess

import grpclib
import modal
from harness import app, case, create, equal, eventually, output, raised, run, running, shared

version = tuple(int(part) for part in modal.__version__.split(".")[:2])


@case
def create_exec_and_terminate():
    sandbox = create()
    process = sandbox.exec("sh", "-c", "echo out; echo err >&2; exit 3")
    equal((process.stdout.read(), process.stderr.read()), ("out\n", "err\n"))
    equal((process.wait(), process.returncode, process.poll()), (3, 3, 3))
    equal(sandbox.poll(), None)
    sandbox.terminate()
    sandbox.wait(raise_on_termination=False)
    equal(sandbox.returncode, 137)


@case
def an_entrypoint_runs_and_ends():
    sandbox = create("sh", "-c", "read line; echo got $line; echo err >&2; exit 4")
    sandbox.stdin.write(b"it\n")
    sandbox.stdin.write_eof()
    sandbox.stdin.drain()
    sandbox.wait()
    equal((sandbox.returncode, sandbox.stdout.read(), sandbox.stderr.read()), (4, "got it\n", "err\n"))


@case
def a_snapshot_of_the_filesystem_starts_another_sandbox():
    sandbox = create()
    sandbox.exec("sh", "-c", "echo kept > /root/kept; rm -r /usr/share/zoneinfo").wait()
    image = sandbox.snapshot_filesystem()
    sandbox.exec("sh", "-c", "echo later > /root/kept").wait()
    copy = modal.Sandbox.create(app=app, image=image)
    try:
        equal(copy.exec("cat", "/root/kept").stdout.read(), "kept\n")
        equal(copy.exec("test", "-e", "/usr/share/zoneinfo").wait(), 1)
    finally:
        copy.terminate()
        sandbox.terminate()


@case
def exec_takes_its_options():
    equal(output("pwd", workdir="/var/log")[1], "/var/log\n")
    secret = modal.Secret.from_dict({"KEY": "value"})
    equal(output("printenv", "KEY", secrets=[secret])[1], "value\n")
    equal(shared().exec("printf", r"\377\000x", text=False).stdout.read(), b"\xff\x00x")
    equal(list(shared().exec("printf", r"one\ntwo\n", bufsize=1).stdout), ["one\n", "two\n"])


@case
def what_cannot_be_started_ends_with_128_and_says_why():
    for argv, options, name in [(["no-such-program"], {}, "no-such-program"), (["true"], {"workdir": "/no/dir"}, "/no/dir")]:
        code, out, err = output(*argv, **options)
        equal((code, out), (128, ""))
        assert name in err, err


@case
def a_stream_ends_with_its_process():
    with running() as sandbox:
        process = sandbox.exec("sh", "-c", "(sleep 250; echo late) & printf done")
        equal((process.wait(), process.stdout.read()), (0, "done"))


@case
def input_goes_to_an_exec():
    process = shared().exec("cat")
    process.stdin.write("one ")
    process.stdin.drain()
    process.stdin.write(b"two")
    process.stdin.write_eof()
    process.stdin.drain()
    equal((process.stdout.read(), process.wait()), ("one two", 0))


@case
def a_line_comes_while_the_program_still_runs():
    process = shared().exec("sh", "-c", "for i in 1 2 3; do echo line $i; read answer; done", bufsize=1)
    for number, line in enumerate(process.stdout, 1):
        equal(line, f"line {number}\n")
        process.stdin.write(f"answer {number}\n")
        process.stdin.drain()
    equal(number, 3)


@case
def a_few_megabytes_come_whole():
    process = shared().exec("python3", "-c", "print('0123456789' * 500_000)")
    equal(process.stdout.read(), "0123456789" * 500_000 + "\n")


@case
def a_timeout_ends_an_exec():
    process = shared().exec("sh", "-c", "sleep 1001 & sleep 1002", timeout=2)
    assert process.wait() in (-1, 137), process.returncode


@case
def a_sandbox_times_out():
    sandbox = create("sleep", "300", timeout=2)
    raised(modal.exception.SandboxTimeoutError, sandbox.wait)


@case
def found_by_id_and_by_name():
    name = f"core-{version[0]}-{version[1]}"
    options = {} if version < (1, 1) else {"name": name}
    with running(**options) as sandbox:
        again = modal.Sandbox.from_id(sandbox.object_id)
        equal(again.exec("echo", "by id").stdout.read(), "by id\n")
        if options:
            equal(modal.Sandbox.from_name("life", name).object_id, sandbox.object_id)
            raised(modal.exception.AlreadyExistsError, lambda: create(name=name))
        sandbox.set_tags({"core": name})
        found = modal.Sandbox.list(app_id=app.app_id, tags={"core": name})
        equal([one.object_id for one in found], [sandbox.object_id])


@case
def what_is_not_there_is_not_found():
    # Clients before 1.1 pass some answers on as they are.
    not_found = modal.exception.NotFoundError if version >= (1, 1) else grpclib.GRPCError
    error = raised(not_found, lambda: modal.App.lookup("life-not-there"))
    assert "life-not-there" in str(error), error
    raised(not_found, lambda: modal.Sandbox.from_id("sb-00000000000000000000000000"))


@case
def the_default_image_is_given_without_one():
    sandbox = modal.Sandbox.create("python", "-c", "import sys; print(sys.version_info[0])", app=app)
    sandbox.wait()
    equal((sandbox.returncode, sandbox.stdout.read()), (0, "3\n"))


@case
def there_are_no_tunnels_without_ports():
    equal(shared().tunnels(), {})


if version < (1, 6):

    @case
    def files_through_open_and_its_family():
        sandbox = shared()
        sandbox.mkdir("/files/deep", parents=True)
        with sandbox.open("/files/deep/text.txt", "w") as file:
            file.write("one\ntwo\n")
        with sandbox.open("/files/deep/text.txt", "a") as file:
            file.write("three\n")
        with sandbox.open("/files/deep/text.txt", "r") as file:
            equal(file.read(), "one\ntwo\nthree\n")
            file.seek(4)
            equal(file.readline(), "two\n")
        with sandbox.open("/files/bytes", "wb") as file:
            file.write(bytes(range(256)))
        with sandbox.open("/files/bytes", "rb") as file:
            equal(file.read(), bytes(range(256)))
        equal(sorted(sandbox.ls("/files")), ["bytes", "deep"])
        sandbox.rm("/files/bytes")
        sandbox.rm("/files", recursive=True)
        equal(output("ls", "/files")[0], 2)
        raised(FileNotFoundError, lambda: sandbox.open("/files/gone", "r"))

    @case
    def open_for_writing_makes_the_parents():
        sandbox = shared()
        for mode in ("w", "a", "xb"):
            path = f"/parents/of/{mode}/file"
            with sandbox.open(path, mode) as file:
                file.write(b"made" if "b" in mode else "made")
            equal(output("cat", path)[1], "made")
        sandbox.exec("touch", "/parents/file").wait()
        raised(NotADirectoryError, lambda: sandbox.open("/parents/file/below", "w"))
        raised(FileNotFoundError, lambda: sandbox.open("/parents/of/nothing", "r"))

    @case
    def open_for_writing_writes_through():
        sandbox = shared()
        prepare = "mkdir /through; cd /through; echo old > file; chmod 0750 file; ln file name; ln -s file link"
        equal(output("sh", "-c", prepare)[0], 0)
        with sandbox.open("/through/link", "w") as file:
            file.write("new")
        equal(output("sh", "-c", "cd /through; cat name; stat -c ' %a %h %N' file link")[1], "new 750 2 'file'\n 777 1 'link' -> 'file'\n")

    @case
    def verbose_logs_tell_what_the_documentation_shows():
        with running(verbose=True) as sandbox:
            equal(sandbox.exec("python", "-c", "print('hello')").stdout.read(), "hello\n")
            with sandbox.open("test.txt", "w") as file:
                file.write("Hello World\n")
            sandbox_id = sandbox.object_id
            if "LIFE_CURRENT_PYTHON" not in os.environ:
                return
            lines = eventually(lambda: _log_of(sandbox_id), "the log", seconds=30)
        exec_line, opened, wrote, closed = lines
        equal(exec_line, "Sandbox exec started: python -c print('hello')")
        descriptor = opened.removeprefix("Opened file 'test.txt': ")
        assert descriptor.startswith("fd-"), opened
        equal((wrote, closed), (f"Wrote to file: {descriptor}", f"Closed file: {descriptor}"))

    def _log_of(sandbox_id):
        # Older clients cannot read logs; the current one reads them for them.
        program = f"import modal\nfor e in modal.Sandbox.from_id({sandbox_id!r}).logs.tail(50): print(e)"
        done = subprocess.run([os.environ["LIFE_CURRENT_PYTHON"], "-c", program], capture_output=True, text=True)
        lines = [line for line in done.stdout.splitlines() if line]
        return lines if any(line.startswith("Closed file") for line in lines) else None

else:

    @case
    def files_through_the_filesystem():
        files = shared().filesystem
        files.make_directory("/files/deep")
        files.write_text("one\n", "/files/deep/text.txt")
        equal(files.read_text("/files/deep/text.txt"), "one\n")
        files.write_bytes(bytes(range(256)), "/files/bytes")
        equal(files.read_bytes("/files/bytes"), bytes(range(256)))
        equal(sorted(entry.name for entry in files.list_files("/files")), ["bytes", "deep"])
        files.remove("/files", recursive=True)
        equal(output("ls", "/files")[0], 2)


run()
