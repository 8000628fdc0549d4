"""Snapshots of directories, and images mounted into running sandboxes, under each runtime."""

import os
import pathlib
import stat
import time
import uuid

import modal
from harness import app, case, create, equal, eventually, raised, run, running, sh

KEY = b"a key of the caller's"
BEGUN = time.time()


@case
def a_directory_becomes_an_image_that_is_mounted_elsewhere():
    with running() as one, running() as other:
        sh(one, "mkdir -p /work/deep; cd /work; echo one > file; ln file deep/name; ln -s file link; chmod 0751 .; chown 5:6 file; mkfifo fifo")
        image = one.snapshot_directory("/work")
        sh(one, "echo later > /work/file")
        other.mount_image("/made/for/it", image)
        look = "cd /made/for/it; stat -c '%n %F %a %u' .; stat -c '%n %F %a %u %h' file deep/name link fifo; cat link; find . | wc -l"
        expected = """. directory 751 0
file regular file 644 5 2
deep/name regular file 644 5 2
link symbolic link 777 0 1
fifo fifo 644 0 1
one
6
"""
        equal(sh(other, look), expected)
        sh(other, "echo changed > /made/for/it/file; echo new > /made/for/it/new; rm /made/for/it/link")
        equal(other.filesystem.read_text("/made/for/it/new"), "new\n")
        # Each mount is its own; the image stays as it was.
        one.mount_image("/mnt", image)
        equal(sh(one, "cd /mnt; ls; cat file"), "deep\nfifo\nfile\nlink\none\n")
        again = other.snapshot_directory("/made/for/it")
        one.mount_image("/again", again)
        equal(sh(one, "cd /again; ls; cat file"), "deep\nfifo\nfile\nnew\nchanged\n")
        with running(image=modal.Image.from_id(image.object_id)) as whole:
            equal([entry.name for entry in whole.filesystem.list_files("/deep")], ["name"])


@case
def a_mounted_image_covers_and_unmounting_uncovers():
    with running() as sandbox:
        sh(sandbox, "mkdir -p /spot/below; echo before > /spot/file; mkdir /source; echo mounted > /source/file")
        image = sandbox.snapshot_directory("/source")
        sandbox.mount_image("/spot", image)
        equal(sh(sandbox, "cat /spot/file; ls /spot"), "mounted\nfile\n")
        # A program that stands in the mount does not keep it from being unmounted.
        sandbox.exec("sh", "-c", "cd /spot; exec sleep 300")
        sandbox.unmount_image("/spot")
        equal(sh(sandbox, "cat /spot/file; ls /spot"), "before\nbelow\nfile\n")
        sandbox.mount_image("/spot", image)
        equal(sh(sandbox, "cat /spot/file"), "mounted\n")
        # Mounts over mounts go in the other order.
        sh(sandbox, "echo over > /source/file")
        sandbox.mount_image("/spot", sandbox.snapshot_directory("/source"))
        equal(sh(sandbox, "cat /spot/file"), "over\n")
        sandbox.unmount_image("/spot")
        equal(sh(sandbox, "cat /spot/file"), "mounted\n")
        sandbox.unmount_image("/spot")
        equal(sh(sandbox, "cat /spot/file"), "before\n")


@case
def mounting_no_image_gives_an_empty_directory():
    with running() as sandbox:
        sh(sandbox, "mkdir /full; touch /full/file")
        sandbox.mount_image("/full", modal.Image.from_scratch())
        equal(sh(sandbox, "ls -A /full; echo new > /full/new; cat /full/new"), "new\n")
        image = sandbox.snapshot_directory("/full")
        sandbox.unmount_image("/full")
        equal(sh(sandbox, "ls -A /full"), "file\n")
        sandbox.mount_image("/full", image)
        equal(sh(sandbox, "cat /full/new"), "new\n")


@case
def a_whole_image_can_be_mounted():
    with running() as sandbox, running() as other:
        sh(other, "echo snapshot > /marker")
        sandbox.mount_image("/other", other.snapshot_filesystem())
        equal(sh(sandbox, "cat /other/marker; test -x /other/bin/sh && echo shell"), "snapshot\nshell\n")


@case
def hostile_paths_stay_inside_or_are_refused():
    with running() as sandbox:
        sh(sandbox, "mkdir /content /real; echo content > /content/file; ln -s /real /link; ln -s /loop /loop; ln -s ../../../../real /up; touch /plain")
        image = sandbox.snapshot_directory("/content")
        for path in ("/link", "/up", "/content/../real", "//real/", "/real/."):
            sandbox.mount_image(path, image)
            equal(sh(sandbox, "cat /real/file"), "content\n")
            sandbox.unmount_image(path)
            equal(sh(sandbox, "ls -A /real"), "")
        sandbox.mount_image("/link/not/there", image)
        equal(sh(sandbox, "cat /real/not/there/file"), "content\n")
        sandbox.unmount_image("/link/not/there")
        for path in ("/", "//", "/..", "/proc", "/proc/self", "/sys/fs", "/dev", "/dev/shm", "/__modal", "/__modal/mounts/0", "/loop", "/plain", "/plain/below", "/" + "x" * 5000, "/" + "y" * 300):
            error = raised(modal.exception.InvalidError, lambda: sandbox.mount_image(path, image))
            assert str(error), path
        for path in ("/proc", "/sys", "/plain", "/loop"):
            raised(modal.exception.InvalidError, lambda: sandbox.snapshot_directory(path))
        raised(modal.exception.NotFoundError, lambda: sandbox.snapshot_directory("/not/there"))
        raised(modal.exception.NotFoundError, lambda: sandbox.unmount_image("/real"))
        raised(modal.exception.NotFoundError, lambda: sandbox.unmount_image("/proc"))
        raised(modal.exception.NotFoundError, lambda: sandbox.mount_image("/x", modal.Image.from_id("im-" + "0" * 22)))
        # A mount goes where its directory goes.
        sh(sandbox, "mkdir -p /old/spot")
        sandbox.mount_image("/old/spot", image)
        sh(sandbox, "mv /old /moved; cat /moved/spot/file; mkdir -p /old/spot; echo decoy > /old/spot/file")
        sandbox.unmount_image("/old/spot")
        equal(sh(sandbox, "ls -A /moved/spot; cat /old/spot/file"), "decoy\n")


@case
def a_directory_with_mounts_in_it_is_taken_with_them():
    with running() as sandbox:
        sh(sandbox, "mkdir -p /outer/inner; echo under > /outer/inner/file; echo outer > /outer/file; mkdir /source; echo mounted > /source/mounted")
        sandbox.mount_image("/outer/inner", sandbox.snapshot_directory("/source"))
        image = sandbox.snapshot_directory("/outer")
        sandbox.mount_image("/copy", image)
        equal(sh(sandbox, "cd /copy; find . -type f | sort"), "./file\n./inner/mounted\n")


@case
def an_image_in_use_stays_when_it_expires():
    with running() as sandbox:
        sh(sandbox, "mkdir /source; echo kept > /source/file")
        image = sandbox.snapshot_directory("/source", ttl=20)
        sandbox.mount_image("/mounted", image)
        eventually(lambda: _is_gone(image), "it expires", seconds=120)
        equal(sh(sandbox, "cat /mounted/file; echo more > /mounted/more; ls /mounted"), "kept\nfile\nmore\n")


@case
def an_encrypted_snapshot_opens_with_its_key_only():
    secret = uuid.uuid4().hex
    with running() as sandbox:
        # Neither a command nor what one prints holds the secret: the server keeps both.
        sh(sandbox, f"mkdir /private; cd /private; for i in $(seq 2000); do echo {secret[::-1]}; done | rev > file; head -c 3000000 /dev/urandom > bulk; sha256sum file bulk > sum; chown 5:6 .; chmod 2751 .; ln -s file link")
        image = sandbox.snapshot_directory("/private", _experimental_encryption_key=KEY)
        for wrong in (None, KEY + b"x", b"x" * 512):
            error = raised(modal.exception.InvalidError, lambda: sandbox.mount_image("/open", image, _experimental_encryption_key=wrong))
            assert "encryption key" in str(error), error
        equal(sandbox.exec("test", "-e", "/open/file").wait(), 1)
        sandbox.mount_image("/open", image, _experimental_encryption_key=KEY)
        equal(sh(sandbox, "cd /open; sha256sum -c sum; stat -c '%a %u %g' .; readlink link; echo changed > file"), "file: OK\nbulk: OK\n2751 5 6\nfile\n")
        sandbox.unmount_image("/open")
        sandbox.mount_image("/open", image, _experimental_encryption_key=KEY)
        equal(sh(sandbox, "cd /open; sha256sum -c sum"), "file: OK\nbulk: OK\n")
        # It is no image to run on or to build on, by whatever name.
        name = f"sealed-{uuid.uuid4().hex}"
        image.publish(name)
        for use in (
            lambda: create(image=image),
            lambda: create(image=modal.Image.from_id(image.object_id)),
            lambda: sandbox._experimental_sidecars.create("true", name="side", image=image),
            lambda: modal.Image.from_id(image.object_id).dockerfile_commands("RUN true").build(app),
        ):
            error = raised(modal.exception.InvalidError, use)
            assert "encrypted" in str(error), error
        for built in (modal.Image.from_registry(name), modal.Image.from_scratch().dockerfile_commands(f"COPY --from={name} / /stolen")):
            error = raised(modal.exception.ImageBuildError, lambda: built.build(app))
            assert "encrypted" in str(error), error
        # A key for what is not encrypted is told.
        plain = sandbox.snapshot_directory("/private")
        error = raised(modal.exception.InvalidError, lambda: sandbox.mount_image("/plain", plain, _experimental_encryption_key=KEY))
        assert "not encrypted" in str(error), error
        error = raised(modal.exception.InvalidError, lambda: sandbox.snapshot_directory("/", _experimental_encryption_key=KEY))
        assert "encrypt" in str(error), error


@case
def whoever_reads_the_disk_finds_nothing_of_an_encrypted_snapshot():
    secret = uuid.uuid4().hex
    with running() as sandbox, running() as other:
        sh(sandbox, f"mkdir /private; for i in $(seq 2000); do echo {secret[::-1]}; done | rev > /private/file")
        image = sandbox.snapshot_directory("/private", _experimental_encryption_key=KEY)
        other.mount_image("/open", image, _experimental_encryption_key=KEY)
        sandbox.terminate()
        sandbox.wait(raise_on_termination=False)
        os.sync()  # a disk's file system writes to its file when it likes
        assert _found(secret), "what is mounted can be found, or this case looks in the wrong place"
        other.unmount_image("/open")
        # The file system of the sandbox's disk gives back what was removed a moment later.
        eventually(lambda: not _found(secret), "nothing of it is left", seconds=60)
        equal(_found(KEY.decode()), [])
        other.mount_image("/open", image, _experimental_encryption_key=KEY)
        equal(sh(other, "wc -l < /open/file"), "2000\n")


def _found(text):
    """Files of the server's data directory that hold the text: of those written since this program began, since it is the first that has it, and the images there are gigabytes."""
    # Directories come and go meanwhile: unlike `Path.rglob` this goes on.
    paths = (pathlib.Path(parent, name) for parent, _, names in os.walk(os.environ["LIFE_DATA_DIR"]) for name in names)
    files = (path for path in paths if _was_written(path))
    return [str(path) for path in files if any(text.encode() in part for part in _parts(path))]


def _was_written(path):
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    # The kernel alone sets the time of a change, by a clock that is a tick behind.
    return stat.S_ISREG(status.st_mode) and status.st_ctime > BEGUN - 1


def _parts(path):
    """What a file holds, without its holes: disks of sandboxes are hardly anything else. Each part begins with the end of the one before."""
    step, at, before = 1 << 22, 0, b""
    try:
        with open(path, "rb") as file:
            while True:
                data = os.lseek(file.fileno(), at, os.SEEK_DATA)
                part = os.pread(file.fileno(), step, data)
                if not part:
                    return
                yield (before if data == at else b"") + part
                at, before = data + len(part), part[-100:]
    except OSError:  # no data any more, or no file
        return


def _is_gone(image):
    try:
        create(image=image).terminate()
    except modal.exception.NotFoundError:
        return True


run()
