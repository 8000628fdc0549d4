"""What programs written for Modal expect to happen inside a sandbox, under each runtime."""

import concurrent.futures
import contextlib
import json
import os
import tempfile

import modal
from harness import case, create, equal, eventually, output, raised, run, running, shared

RUNTIME = os.environ.get("LIFE_RUNTIME", "runc")


@case
def what_cannot_be_started_is_a_process_that_ends_with_128_and_says_why():
    sandbox = shared()
    prepare = "mkdir /unstartable; cd /unstartable; echo text > text; echo text > executable; chmod +x executable"
    equal(output("sh", "-c", prepare)[0], 0)
    for argv, options, name in [
        (["no-such-program", "argument"], {}, "no-such-program"),
        (["/no/such/program"], {}, "/no/such/program"),
        (["/unstartable"], {}, "/unstartable"),
        (["/unstartable/text"], {}, "/unstartable/text"),
        (["/unstartable/executable"], {}, "/unstartable/executable"),
        (["/unstartable/text/below"], {}, "/unstartable/text/below"),
        (["true"], {"workdir": "/no/such/directory"}, "/no/such/directory"),
        (["true"], {"workdir": "/unstartable/text"}, "/unstartable/text"),
    ]:
        process = sandbox.exec(*argv, **options)
        equal((process.wait(), process.poll(), process.stdout.read()), (128, 128, ""))
        error = process.stderr.read()
        assert name in error and error.endswith("\n"), error
    equal(sandbox.poll(), None)
    equal(output("echo", "goes on"), (0, "goes on\n", ""))


@case
def what_cannot_be_started_on_a_terminal_says_so_there():
    process = shared().exec("no-such-program", pty=True)
    equal((process.wait(), process.stderr.read()), (128, ""))
    assert "no-such-program" in process.stdout.read()


@case
def input_for_what_cannot_be_started_is_refused_like_that_of_any_process_that_ended():
    process = shared().exec("no-such-program")
    process.stdin.write(b"input")
    raised(modal.exception.ConflictError, process.stdin.drain)
    equal(process.wait(), 128)


@case
def an_entrypoint_that_cannot_be_started_ends_its_sandbox_and_is_told():
    sandbox = create("no-such-program")
    sandbox.wait()
    equal((sandbox.returncode, sandbox.poll()), (128, 128))
    assert "no-such-program" in sandbox.stderr.read()
    error = raised(modal.exception.NotFoundError, lambda: sandbox.exec("true").wait())
    assert "no-such-program" in str(error), error


@case
def the_workdir_of_a_sandbox_is_made_also_without_an_entrypoint():
    with running(workdir="/made/for/it") as sandbox:
        equal(sandbox.exec("pwd").stdout.read(), "/made/for/it\n")


@case
def the_filesystem_needs_no_workdir():
    with running("sleep", "300", workdir="/removed") as sandbox:
        equal(sandbox.exec("rmdir", "/removed").wait(), 0)
        sandbox.filesystem.write_text("there", "/file")
        equal(sandbox.filesystem.read_text("/file"), "there")
        process = sandbox.exec("true")
        equal(process.wait(), 128)
        assert "/removed" in process.stderr.read()


@case
def streams_end_with_their_process():
    with running() as sandbox:
        script = """
(until test -e /go; do sleep 0.1; done; head -c 3000000 /dev/zero && touch /wrote; n=0
 while sleep 0.1; do n=$((n+1)); echo $n | tee /beat; done) & printf done"""
        process = sandbox.exec("sh", "-c", script)
        equal((process.wait(), process.stdout.read(), process.stderr.read()), (0, "done", ""))
        sandbox.exec("touch", "/go").wait()
        eventually(lambda: sandbox.exec("test", "-e", "/wrote").wait() == 0, "the child writes more than a pipe holds")
        for beat in ("1", "2"):
            eventually(lambda: int(sandbox.exec("cat", "/beat").stdout.read() or 0) > int(beat), "the child lives on")


@case
def all_that_a_process_wrote_is_read_whatever_it_leaves_behind():
    with running() as sandbox:
        script = "sleep 100 & head -c 3000000 /dev/zero | tr '\\0' x; echo end >&2"
        process = sandbox.exec("sh", "-c", script)
        equal((len(process.stdout.read()), process.stderr.read(), process.wait()), (3000000, "end\n", 0))


@case
def a_terminal_ends_with_its_process_too():
    with running() as sandbox:
        process = sandbox.exec("sh", "-c", "trap '' HUP; sleep 100 & echo done", pty=True)
        equal((process.stdout.read(), process.wait()), ("done\r\n", 0))


@case
def a_child_that_carries_the_output_of_its_process_gets_it_through():
    process = shared().exec("bash", "-c", "exec > >(cat) 2>&1; echo through a child")
    equal((process.stdout.read(), process.wait()), ("through a child\n", 0))


@case
def a_written_file_takes_the_name():
    files = shared().filesystem
    prepare = """
mkdir /names; cd /names; umask 0; echo old > target; ln target other; ln -s target link; ln -s nowhere dangling
echo old > closed; chmod 0640 closed; chown 1000:1000 closed
"""
    equal(output("sh", "-c", prepare)[0], 0)
    with _local_file(b"new") as local:
        for name, write in [
            ("link", lambda path: files.write_text("new", path)),
            ("dangling", lambda path: files.write_bytes(b"new", path)),
            ("target", lambda path: files.copy_from_local(local, path)),
            ("closed", lambda path: files.write_text("new", path)),
        ]:
            write(f"/names/{name}")
            equal(output("stat", "-c", "%F %a %h %U", f"/names/{name}")[1], "regular file 644 1 root\n")
            equal(files.read_text(f"/names/{name}"), "new")
    equal(files.read_text("/names/other"), "old\n")
    equal(sorted(entry.name for entry in files.list_files("/names")), ["closed", "dangling", "link", "other", "target"])
    files.write_text("127.0.0.1 localhost changed\n", "/etc/hosts")
    assert "changed" in files.read_text("/etc/hosts")


@contextlib.contextmanager
def _local_file(content):
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        yield file.name


@case
def readers_see_the_old_content_or_the_new():
    files = shared().filesystem
    sizes = (300_000, 500_000)
    files.write_bytes(b"a" * sizes[0], "/whole")
    watch = "import os\nwhile not os.path.exists('/stop-watching'):\n data = open('/whole','rb').read(); print(len(data), len(set(data)))"
    process = shared().exec("python3", "-c", watch)
    for round in range(10):
        files.write_bytes(b"ab"[round % 2 : round % 2 + 1] * sizes[round % 2], "/whole")
    files.write_text("", "/stop-watching")
    equal(set(process.stdout.read().splitlines()) - {f"{size} 1" for size in sizes}, set())


@case
def permissions_are_four_octal_digits():
    files = shared().filesystem
    equal(output("sh", "-c", "mkdir /modes; cd /modes; touch a b; chmod 0644 a; chmod 4755 b; mkdir -m 1777 c")[0], 0)
    equal([entry.permissions for entry in files.list_files("/modes")], ["0644", "4755", "1777"])
    equal(files.stat("/modes/b").permissions, "4755")


@case
def what_was_printed_before_a_timeout_is_there_on_both_streams():
    # Long, so that a busy machine has the time to read the second stream after the first.
    one, other = (shared().exec("sh", "-c", "echo out; echo err >&2; sleep 100", timeout=20) for _ in range(2))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        in_turn = pool.submit(lambda: (other.stderr.read(), other.stdout.read(), other.wait()))
        equal((one.stdout.read(), one.stderr.read()), ("out\n", "err\n"))
        equal(in_turn.result(), ("err\n", "out\n", -1))
    # The client's word for a timeout, whoever noticed it first.
    equal((one.wait(), one.returncode, one.poll()), (-1, -1, -1))


@case
def killing_everything_inside_has_one_answer():
    for entrypoint in ((), ("sleep", "300")):
        sandbox = create(*entrypoint)
        other = sandbox.exec("sleep", "300")
        killer = sandbox.exec("sh", "-c", "kill -9 -1; echo spared")
        assert killer.wait() in (0, 137), killer.returncode
        equal(other.wait(), 137)
        eventually(lambda: sandbox.poll() == 137, "the sandbox is told to have ended")
        error = raised(modal.exception.NotFoundError, lambda: sandbox.exec("true").wait())
        assert "already completed" in str(error), error
        equal((sandbox.poll(), sandbox.wait(), sandbox.returncode), (137, None, 137))


@case
def signals_do_not_reach_init():
    program = """
import os, signal, sys
for number in range(1, 65):
    if number not in (signal.SIGKILL, signal.SIGSTOP, 32, 33):
        try:
            os.kill(1, number)
        except PermissionError:  # what gVisor says
            pass
"""
    with running("sleep", "300") as sandbox:
        process = sandbox.exec("python3", "-c", program)
        equal((process.wait(), process.stderr.read()), (0, ""))
        equal(sandbox.exec("echo", "goes on").stdout.read(), "goes on\n")
        equal(sandbox.poll(), None)


@case
def killing_init_is_harmless():
    with running("sleep", "300") as sandbox:
        sandbox.exec("sh", "-c", "kill -9 1; sleep 1").wait()
        equal(sandbox.exec("echo", "goes on").stdout.read(), "goes on\n")


@case
def stopping_everything_does_not_stop_the_sandbox():
    with running("sleep", "300") as sandbox:
        equal(sandbox.exec("sh", "-c", "kill -STOP -1; kill -STOP 1; echo sent").stdout.read(), "sent\n")
        equal(sandbox.exec("echo", "goes on").stdout.read(), "goes on\n")
        equal(sandbox.exec("sh", "-c", "kill -CONT -1; exit 3").wait(), 3)


MAKE_TREE = r"""
import os, socket
os.makedirs("/tree/empty"); os.chdir("/tree")
def write(path, content=b"content"):
    with open(path, "wb") as file: file.write(content)
write("file"); os.chmod("file", 0o640); os.chown("file", 12, 34)
write("setuid"); os.chown("setuid", 5, 6); os.chmod("setuid", 0o6755)
os.mkdir("sticky"); os.chmod("sticky", 0o3777)
os.link("file", "hard link"); os.symlink("file", "link"); os.symlink("/no/where", "dangling")
os.mkfifo("fifo"); os.chmod("fifo", 0o622); os.chown("fifo", 7, 8)
os.mkfifo("/usr/share/doc/fifo in a directory of the image")
os.mkdir("with fifo"); os.mkfifo("with fifo/fi\nfo"); os.chmod("with fifo", 0o2711)
os.unlink("/etc/debian_version"); os.mkfifo("/etc/debian_version")
with open("sparse", "wb") as file: file.truncate(100 << 20); file.seek(50 << 20); file.write(b"middle")
socket.socket(socket.AF_UNIX).bind("socket")
for path in ("file", "setuid"): os.setxattr(path, "user.name", b"va\0lue")
for nanoseconds, path in enumerate(("link", "file", "setuid", "fifo", "sparse", "empty", "with fifo/fi\nfo", "with fifo"), 1234567890123456789):
    os.utime(path, ns=(1, nanoseconds), follow_symlinks=False)
"""
LOOK_AT_TREE = r"""
import json, os, stat, time
tree = {}
def look(path):
    meta = os.lstat(path)
    explicit = meta.st_mtime_ns if meta.st_mtime_ns < 2 * 10**18 and meta.st_mtime_ns // 10**9 == 1234567890 else "now"
    links = meta.st_nlink if stat.S_ISREG(meta.st_mode) else None
    names = os.listxattr(path, follow_symlinks=False)
    values = {name: os.getxattr(path, name, follow_symlinks=False).hex() for name in names}
    target = os.readlink(path) if stat.S_ISLNK(meta.st_mode) else None
    content = hash_of(path) if stat.S_ISREG(meta.st_mode) else None
    tree[path] = [oct(meta.st_mode), meta.st_uid, meta.st_gid, explicit, links, values, target, content]
def hash_of(path):
    import hashlib
    return hashlib.sha256(open(path, "rb").read()).hexdigest()
for directory, directories, files in os.walk("/tree"):
    for name in directories + files: look(os.path.join(directory, name))
look("/usr/share/doc/fifo in a directory of the image")
look("/etc/debian_version")
assert os.stat("/tree/file").st_ino == os.stat("/tree/hard link").st_ino
print(json.dumps(tree))
"""
USE_FIFO = "(echo through > '{0}' & cat '{0}')"


@case
def a_snapshot_is_the_tree_as_it_was():
    with running() as sandbox:
        process = sandbox.exec("python3", "-c", MAKE_TREE)
        equal((process.wait(), process.stderr.read()), (0, ""))
        before = json.loads(sandbox.exec("python3", "-c", LOOK_AT_TREE).stdout.read())
        image = sandbox.snapshot_filesystem()
        # A socket means nothing without the program that listens on it.
        assert before.pop("/tree/socket")[0].startswith("0o14"), before
        with running(image=image) as copy:
            process = copy.exec("python3", "-c", LOOK_AT_TREE)
            equal(process.stderr.read(), "")
            after = json.loads(process.stdout.read())
            equal({path: (before.get(path), after.get(path)) for path in before | after if before.get(path) != after.get(path)}, {})
            if RUNTIME == "runc":  # gVisor tells no holes
                assert int(copy.exec("sh", "-c", "du -k /tree/sparse | cut -f1").stdout.read()) < 2000
            equal(copy.exec("sh", "-c", USE_FIFO.format("/tree/fifo")).stdout.read(), "through\n")
            again = copy.snapshot_filesystem()
        with running(image=again) as copy:
            equal(json.loads(copy.exec("python3", "-c", LOOK_AT_TREE).stdout.read()), after)
        # The sandbox itself goes on as if nothing had been.
        equal(sandbox.exec("sh", "-c", USE_FIFO.format("/tree/fifo")).stdout.read(), "through\n")
        equal(sandbox.exec("sh", "-c", "rm /tree/fifo; ls -A /tree/empty; test -e /tree/fifo").wait(), 1)
        equal(sandbox.exec("test", "-S", "/tree/socket").wait(), 0)


@case
def a_snapshot_has_what_was_written_through_a_mapping():
    with running() as sandbox:
        program = """
import mmap, sys, time
file = open("/mapped", "w+b"); file.truncate(1 << 20)
mapped = mmap.mmap(file.fileno(), 1 << 20); mapped[:6] = b"mapped"
print("written", flush=True); time.sleep(300)
"""
        process = sandbox.exec("python3", "-c", program)
        equal(next(iter(process.stdout)), "written\n")
        with running(image=sandbox.snapshot_filesystem()) as copy:
            equal(copy.exec("head", "-c", "6", "/mapped").stdout.read(), "mapped")


run()
