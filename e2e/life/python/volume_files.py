"""Volumes and their files through the Python client, without any sandbox."""

import contextlib
import hashlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import uuid

import modal
from modal.volume import FileEntryType
from harness import case, patient, run

BLOCK = 8 * 1024 * 1024


def unique(kind):
    return f"{kind}-{uuid.uuid4().hex[:12]}"


@contextlib.contextmanager
def fails(error, words=""):
    """What is done here must raise exactly this class of error, with these words."""
    try:
        yield
    except Exception as exception:
        assert type(exception) is error, f"{type(exception).__name__} instead of {error.__name__}: {exception}"
        assert words in str(exception), f"{words!r} is not in {str(exception)!r}"
        return
    raise AssertionError(f"no {error.__name__}")


def command(*args, code=0):
    """Runs `modal ARGS` and gives what it prints."""
    environment = {**os.environ, "COLUMNS": "300"}
    done = subprocess.run([sys.executable, "-m", "modal", *args], capture_output=True, text=True, env=environment, timeout=patient(100))
    assert done.returncode == code, f"modal {' '.join(args)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout if code == 0 else done.stdout + done.stderr


def fresh(**options):
    return modal.Volume.from_name(unique("vol"), create_if_missing=True, **options)


def names(entries):
    return sorted(entry.path for entry in entries)


def content(volume, path):
    return b"".join(volume.read_file(path))


@contextlib.contextmanager
def directory(files):
    with tempfile.TemporaryDirectory() as root:
        for name, data in files.items():
            path = pathlib.Path(root) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        yield root


@case
def a_volume_is_made_when_missing_and_found_by_name_and_id():
    name = unique("vol")
    with fails(modal.exception.NotFoundError, f"Volume '{name}' not found"):
        modal.Volume.from_name(name).hydrate()
    made = modal.Volume.from_name(name, create_if_missing=True).hydrate()
    assert modal.Volume.from_name(name).hydrate().object_id == made.object_id
    assert modal.Volume.from_id(made.object_id).hydrate().info().name == name
    assert modal.Volume.from_name(name, create_if_missing=True).info().created_at is not None
    with fails(modal.exception.NotFoundError):
        modal.Volume.from_id("vo-0000000000000000000000").hydrate()


@case
def an_existing_name_is_refused_a_new_one_taken():
    name, other = unique("vol"), unique("vol")
    modal.Volume.objects.create(name)
    with fails(modal.exception.AlreadyExistsError, f"Volume '{name}' already exists"):
        modal.Volume.objects.create(name)
    modal.Volume.objects.create(name, allow_existing=True)
    modal.Volume.objects.create(other)
    with fails(modal.exception.AlreadyExistsError):
        modal.Volume.rename(name, other)
    renamed = unique("vol")
    before = modal.Volume.from_name(name).hydrate().object_id
    modal.Volume.rename(name, renamed)
    assert modal.Volume.from_name(renamed).hydrate().object_id == before
    with fails(modal.exception.NotFoundError):
        modal.Volume.from_name(name).hydrate()


@case
def a_deleted_volume_is_gone_with_its_files():
    name = unique("vol")
    volume = modal.Volume.from_name(name, create_if_missing=True)
    with volume.batch_upload() as batch:
        batch.put_file(io.BytesIO(b"x"), "x")
    modal.Volume.objects.delete(name)
    with fails(modal.exception.NotFoundError):
        modal.Volume.from_name(name).hydrate()
    modal.Volume.objects.delete(name, allow_missing=True)
    with fails(modal.exception.NotFoundError):
        modal.Volume.objects.delete(name)
    assert modal.Volume.from_name(name, create_if_missing=True).listdir("/") == []


@case(alone=True)
def lists_go_back_page_by_page():
    made = [unique("vol") for _ in range(5)]
    for name in made:
        modal.Volume.objects.create(name)
    listed = [volume.name for volume in modal.Volume.objects.list(max_objects=3)]
    assert listed == made[:1:-1], listed
    assert set(made) <= {volume.name for volume in modal.Volume.objects.list()}


@case
def files_of_every_size_come_back_as_they_were():
    sizes = [0, 1, 4 * 1024 * 1024, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 5]
    files = {f"f{size}": os.urandom(size) for size in sizes}
    files["zeros"] = bytes(BLOCK + 100)
    files["zeros-at-the-end"] = b"abc" + bytes(3 * BLOCK)
    for version in (1, 2):
        volume = fresh(version=version)
        with volume.batch_upload() as batch:
            for name, data in files.items():
                batch.put_file(io.BytesIO(data), f"/deep/er/{name}")
        assert names(volume.listdir("/deep/er")) == sorted(f"deep/er/{name}" for name in files)
        for name, data in files.items():
            assert hashlib.sha256(content(volume, f"deep/er/{name}")).digest() == hashlib.sha256(data).digest(), name
            sink = io.BytesIO()
            assert volume.read_file_into_fileobj(f"deep/er/{name}", sink) == len(data)
            assert sink.getvalue() == data


@case
def what_is_listed_has_kind_size_and_time():
    volume = fresh()
    with directory({"a.txt": b"aaa", "sub/b.txt": b"b", "sub/deeper/c.txt": b""}) as root:
        with volume.batch_upload() as batch:
            batch.put_directory(root, "/data")
            batch.put_file(os.path.join(root, "a.txt"), "copy.txt", mode=0o600)
    top = {entry.path: entry for entry in volume.listdir("/")}
    assert set(top) == {"data", "copy.txt"}, top
    assert top["data"].type == FileEntryType.DIRECTORY and top["copy.txt"].type == FileEntryType.FILE
    assert top["copy.txt"].size == 3 and top["copy.txt"].mtime > 1_700_000_000
    everything = names(volume.iterdir("/", recursive=True))
    assert everything == ["copy.txt", "data", "data/a.txt", "data/sub", "data/sub/b.txt", "data/sub/deeper", "data/sub/deeper/c.txt"]
    assert names(volume.listdir("data/sub/", recursive=False)) == ["data/sub/b.txt", "data/sub/deeper"]
    assert names(volume.listdir("data/a.txt")) == ["data/a.txt"]
    with fails(modal.exception.NotFoundError):
        volume.listdir("nowhere")
    with fails(FileNotFoundError):
        content(volume, "nowhere")
    with fails(modal.exception.InvalidError, "not a file"):
        content(volume, "data")


@case
def an_upload_replaces_files_only_when_told_to_and_never_directories():
    for version in (1, 2):
        volume = fresh(version=version)
        with volume.batch_upload() as batch:
            batch.put_file(io.BytesIO(b"old"), "dir/file")
        with fails(FileExistsError, "dir/file"):
            with volume.batch_upload() as batch:
                batch.put_file(io.BytesIO(b"other"), "other")
                batch.put_file(io.BytesIO(b"new"), "dir/file")
        assert names(volume.listdir("/", recursive=True)) == ["dir", "dir/file"]
        with volume.batch_upload(force=True) as batch:
            batch.put_file(io.BytesIO(b"new"), "dir/file")
        assert content(volume, "dir/file") == b"new"
        with fails(FileExistsError):
            with volume.batch_upload(force=True) as batch:
                batch.put_file(io.BytesIO(b"new"), "dir")
        with fails(modal.exception.ConflictError, "not a directory"):
            with volume.batch_upload() as batch:
                batch.put_file(io.BytesIO(b"x"), "dir/file/below")


@case
def removal_and_what_is_put_there_later():
    volume = fresh()
    with volume.batch_upload() as batch:
        for name in ("dir/one", "dir/two", "dir/sub/three", "top"):
            batch.put_file(io.BytesIO(name.encode()), name)
    volume.remove_file("dir/one")
    assert names(volume.listdir("dir")) == ["dir/sub", "dir/two"]
    with fails(FileNotFoundError):
        volume.remove_file("dir/one")
    with fails(modal.exception.ConflictError, "recursive"):
        volume.remove_file("dir")
    volume.remove_file("/dir", recursive=True)
    assert names(volume.listdir("/", recursive=True)) == ["top"]
    with volume.batch_upload() as batch:
        batch.put_file(io.BytesIO(b"again"), "dir/one")
    assert names(volume.listdir("/", recursive=True)) == ["dir", "dir/one", "top"]
    volume.remove_file("/", recursive=True)
    assert volume.listdir("/") == []


@case
def copies_are_what_cp_makes():
    volume = fresh()
    with volume.batch_upload() as batch:
        for name in ("a/x", "a/y", "a/sub/z", "b"):
            batch.put_file(io.BytesIO(name.encode()), name)
    volume.copy_files(["b"], "c")
    assert content(volume, "c") == b"b"
    volume.copy_files(["b", "a/x"], "a/sub")
    assert names(volume.listdir("a/sub")) == ["a/sub/b", "a/sub/x", "a/sub/z"]
    volume.copy_files(["a/y"], "b")
    assert content(volume, "b") == b"a/y"
    with fails(modal.exception.InvalidError, "recursive"):
        volume.copy_files(["a"], "d")
    volume.copy_files(["a"], "d", recursive=True)
    assert names(volume.listdir("d", recursive=True)) == ["d/sub", "d/sub/b", "d/sub/x", "d/sub/z", "d/x", "d/y"]
    volume.copy_files(["a"], "d", recursive=True)
    assert "d/a/x" in names(volume.listdir("d", recursive=True))
    with fails(modal.exception.InvalidError):
        volume.copy_files(["a"], "a/sub", recursive=True)
    with fails(modal.exception.NotFoundError):
        volume.copy_files(["none"], "e")
    with fails(modal.exception.NotFoundError):
        volume.copy_files(["b"], "none/e")
    with fails(modal.exception.ConflictError, "not a directory"):
        volume.copy_files(["b", "c"], "a/x")


@case
def paths_never_lead_out_of_the_volume():
    volume = fresh()
    for path in ("../x", "a/../../x", "/../etc/passwd"):
        with fails(modal.exception.InvalidError, "'..'"):
            volume.listdir(path)
        with fails(modal.exception.InvalidError, "'..'"):
            with volume.batch_upload() as batch:
                batch.put_file(io.BytesIO(b"x"), path)
    with fails(modal.exception.InvalidError, "longer than 255 bytes"):
        with volume.batch_upload() as batch:
            batch.put_file(io.BytesIO(b"x"), "n" * 256)
    with volume.batch_upload() as batch:
        batch.put_file(io.BytesIO(b"odd"), "odd/new\nline ünï ☃ " + "n" * 200)
    [entry] = volume.listdir("odd")
    assert content(volume, entry.path) == b"odd"


@case
def many_changes_stay_quick_to_read_and_right():
    volume = fresh()
    expected = {}
    for i in range(70):
        expected[f"d{i % 7}/f{i}"] = f"{i}".encode()
        with volume.batch_upload(force=True) as batch:
            batch.put_file(io.BytesIO(expected[f"d{i % 7}/f{i}"]), f"d{i % 7}/f{i}")
            batch.put_file(io.BytesIO(f"newest {i}".encode()), "newest")
        if i % 10 == 9:
            volume.remove_file(f"d{i % 7}/f{i}")
            del expected[f"d{i % 7}/f{i}"]
    listed = [entry.path for entry in volume.listdir("/", recursive=True) if entry.type == FileEntryType.FILE]
    assert sorted(listed) == sorted([*expected, "newest"])
    assert all(content(volume, path) == data for path, data in expected.items())
    assert content(volume, "newest") == b"newest 69"


@case
def writers_at_once_lose_nothing():
    import concurrent.futures

    volume = fresh().hydrate()

    def write(i):
        with volume.batch_upload() as batch:
            batch.put_file(io.BytesIO(b"%d" % i), f"dir/{i}")

    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        list(pool.map(write, range(40)))
    assert len(volume.listdir("dir")) == 40
    assert content(volume, "dir/17") == b"17"


@case
def an_ephemeral_volume_lives_for_its_block():
    with modal.Volume.ephemeral() as volume:
        with volume.batch_upload() as batch:
            batch.put_file(io.BytesIO(b"x"), "x")
        assert content(volume, "x") == b"x"
        assert volume.object_id not in [listed.object_id for listed in modal.Volume.objects.list()]
        volume.commit()
        volume.reload()


@case
def a_version_that_was_asked_for_is_kept():
    name = unique("vol")
    modal.Volume.from_name(name, create_if_missing=True, version=1).hydrate()
    with fails(modal.exception.InvalidError, "version"):
        modal.Volume.from_name(name, version=2).hydrate()
    modal.Volume.from_name(name, version=1).hydrate()


@case
def the_command_line_moves_files():
    name = unique("vol")
    assert name in command("volume", "create", name)
    with directory({"tree/a.txt": b"aaa", "tree/sub/b.txt": b"bb"}) as root:
        command("volume", "put", name, f"{root}/tree", "/t")
        command("volume", "put", name, f"{root}/tree/a.txt", "in/")
        assert "already exists" in command("volume", "put", name, f"{root}/tree/a.txt", "in/", code=2)
        command("volume", "put", "--force", name, f"{root}/tree/a.txt", "in/")
        listed = json.loads(command("volume", "ls", "--json", name, "t"))
        assert [(row["filename"], row["type"]) for row in listed] == [("t/a.txt", "file"), ("t/sub", "dir")], listed
        command("volume", "cp", name, "t/a.txt", "t/sub")
        os.mkdir(f"{root}/back")  # else the client takes it for the name of one file
        command("volume", "get", name, "t", f"{root}/back")
        back = {str(path.relative_to(f"{root}/back")): path.read_bytes() for path in pathlib.Path(root, "back").rglob("*") if path.is_file()}
        assert back == {"t/a.txt": b"aaa", "t/sub/b.txt": b"bb", "t/sub/a.txt": b"aaa"}, back
    assert command("volume", "get", name, "t/a.txt", "-").startswith("aaa")
    command("volume", "rm", name, "t/sub/b.txt")
    command("volume", "rm", "-r", name, "t/sub")
    assert command("volume", "ls", name, "t").split() == ["t/a.txt"]
    renamed = unique("vol")
    command("volume", "rename", "--yes", name, renamed)
    assert renamed in command("volume", "list")
    command("volume", "delete", "--yes", renamed)
    assert renamed not in command("volume", "list")


run()
