"""Uploads, commits, reloads, builds, snapshots and removals at once while the server under them is killed; told what to do by lines on standard input.

Everything has a generation, the round's number, in what it writes, and a hash beside it: what is found is the generation before or this one, never a mix, and
what was answered is there.
"""

import base64
import concurrent.futures
import hashlib
import io
import json
import os
import sys
import tempfile
import threading
import time
import uuid

import grpclib
import modal
import modal.experimental

app = modal.App.lookup("crash", create_if_missing=True)
image = modal.Image.from_registry("python:3.11-slim")
LIFETIME = 24 * 3600
#: Bytes: within a message, within a block of 8 MiB, and more than two blocks.
SIZES = {"small": 100, "block": 700_000, "blocks": 17_000_000}
#: What a client is told whose call cannot be repeated for it.
BROKEN = (modal.exception.Error, modal.exception.ConnectionError, OSError, grpclib.GRPCError, grpclib.exceptions.StreamTerminatedError)

#: What each thread is doing, for the record, and since when.
doing = {}
#: What took longest of a round, and how many seconds.
slowest = ("", 0.0)


def say(**fields):
    print(json.dumps(fields), flush=True)


def at(what):
    global slowest
    name, now = threading.current_thread().name, time.monotonic()
    before, since = doing.get(name, ("", now))
    slowest = max(slowest, (before, now - since), key=lambda step: step[1])
    doing[name] = (what, now)


def step(work, generation):
    work(generation)
    at("nothing")


def again(work):
    """Repeats what a dying server broke off; everything here may be repeated."""
    deadline = time.monotonic() + 90 * float(os.environ["SKERRY_TEST_SLOWNESS"])
    while True:
        try:
            return work()
        except BROKEN as error:
            if time.monotonic() > deadline or isinstance(error, modal.exception.InvalidError):
                raise
            time.sleep(0.2)  # the server is away


def payload(name, generation):
    seed = hashlib.sha256(f"{name} {generation}".encode()).digest()
    return (seed * (SIZES[name] // len(seed) + 1))[: SIZES[name]]


def sh(sandbox, script):
    process = sandbox.exec("sh", "-ec", script)
    out, errors = process.stdout.read(), process.stderr.read()
    assert process.wait() == 0, errors
    return out


# Inside: files whose name is not in their content, each whole by a rename, with its hash in front.
WRITE = """
import hashlib, os, sys
generation = sys.argv[1]
for number in range(20):
    text = (generation + " " + str(number) + " ") * (1 + 400 * (number % 5))
    with open(f"/data/.new", "w") as file: file.write(hashlib.sha256(text.encode()).hexdigest() + text)
    os.rename("/data/.new", f"/data/{number}")
directory = os.open("/data", os.O_RDONLY); os.fsync(directory)
"""
WRITE_BUILT = WRITE.replace("generation = sys.argv[1]", 'generation = sys.argv[1]; os.mkdir("/built")').replace("/data", "/built")
# Each file whole, and of which generation each is.
CHECK = """
import hashlib, os, sys
found = set()
for name in os.listdir(sys.argv[1]):
    if name.startswith("."): continue
    whole = open(os.path.join(sys.argv[1], name)).read()
    assert hashlib.sha256(whole[64:].encode()).hexdigest() == whole[:64], name
    assert whole[64:].split(" ")[1] == name, name
    found.add(int(whole[64:].split(" ")[0]))
print(*sorted(found))
"""
# Two files that change one after the other for ever: the second is never ahead, and never more than one behind.
PAIR = """
import itertools, os
for count in itertools.count(1):
    for name in ("first", "second"):
        with open("/pair/.new", "w") as file: file.write(f"{count} " * 2000)
        os.rename("/pair/.new", "/pair/" + name)
"""


class Uploads:
    def __init__(self):
        self.volume = modal.Volume.from_name("uploads", create_if_missing=True)

    def run(self, generation):
        at("upload")

        def upload():
            with self.volume.batch_upload(force=True) as batch:
                for name in SIZES:
                    batch.put_file(io.BytesIO(payload(name, generation)), f"/{name}")

        try:
            upload()
        except BROKEN:
            at("upload, looked at")
            found = {again(lambda: self.generation_of(name, generation)) for name in SIZES}
            assert len(found) == 1, f"a batch is there by half: {found}"
            at("upload, again")
            again(upload)
        at("download")
        for name in SIZES:
            assert again(lambda: self.generation_of(name, generation)) == generation, name

    def generation_of(self, name, generation):
        try:
            found = b"".join(self.volume.read_file(name))
        except (modal.exception.NotFoundError, FileNotFoundError):
            assert generation == 1
            return 0
        for candidate in (generation, generation - 1):
            if found == payload(name, candidate):
                return candidate
        raise AssertionError(f"{name} is of no generation: {len(found)} bytes")


class Mounts:
    def __init__(self):
        self.volume = modal.Volume.from_name("mounted", create_if_missing=True)
        volumes = {"/data": self.volume}
        self.writer, self.reader = (
            modal.Sandbox.create("sleep", "infinity", app=app, image=image, volumes=volumes, timeout=LIFETIME) for _ in range(2)
        )

    def run(self, generation):
        at("write and sync")
        process = again(lambda: self.writer.exec("python3", "-c", WRITE, str(generation)))
        code = again(process.wait)
        assert code == 0, again(process.stderr.read)
        at("commit")
        again(self.volume.commit)
        at("reload")
        again(self.reader.reload_volumes)
        found = again(lambda: sh(self.reader, f"python3 -c '{CHECK}' /data")).split()
        assert found == [str(generation)], (generation, found)

    def read_meanwhile(self, generation):
        """Another one reloads while the first writes: each file is whole, and old or new."""
        at("reload while it is written")
        again(self.reader.reload_volumes)
        found = again(lambda: sh(self.reader, f"python3 -c '{CHECK}' /data")).split()
        assert set(found) <= {str(generation - 1), str(generation)}, (generation, found)


class Snapshots:
    def __init__(self):
        self.sandbox = modal.Sandbox.create("sleep", "infinity", app=app, image=image, timeout=LIFETIME)
        sh(self.sandbox, "mkdir /pair /data")
        self.sandbox.exec("python3", "-c", PAIR)
        self.old = None

    def run(self, generation):
        at("files for a snapshot")
        process = again(lambda: self.sandbox.exec("python3", "-c", WRITE, str(generation)))
        assert again(process.wait) == 0
        at("snapshot")
        taken = again(lambda: self.sandbox.snapshot_filesystem(timeout=120))
        at("sandbox of a snapshot")
        copy = again(lambda: modal.Sandbox.create("sleep", "infinity", app=app, image=taken, timeout=LIFETIME))
        look = f"python3 -c '{CHECK}' /data; for name in first second; do tr ' ' '\\n' < /pair/$name | uniq -c; done"
        found, *pair = again(lambda: sh(copy, look)).splitlines()
        assert found == str(generation), found
        # Each is whole, one number 2,000 times, and they are of one moment.
        (times, first), (as_often, second) = (map(int, line.split()) for line in pair)
        assert times == as_often == 2000 and first - second in (0, 1), pair
        at("end of a sandbox")
        again(lambda: copy.terminate(wait=True))
        if self.old:
            at("removal of an image")
            old = self.old

            def remove():
                try:
                    modal.experimental.image_delete(old)
                except modal.exception.NotFoundError:
                    pass  # by an earlier try

            again(remove)
        self.old = taken.object_id


class Builds:
    """Images that are built, used and let go of, so that they are collected; what must stay though nobody uses it; files that are put into sandboxes."""

    def __init__(self):
        named = self.built(0)
        named.publish("crash-named")
        sandbox = modal.Sandbox.create(app=app, image=named, timeout=LIFETIME)
        self.snapshot = sandbox.snapshot_filesystem().object_id
        sandbox.terminate(wait=True)
        self.file = tempfile.NamedTemporaryFile("w", suffix=".txt")
        self.file.write("0 put into sandboxes\n")
        self.file.flush()
        self.holder = modal.Sandbox.create("sleep", "infinity", app=app, image=self.with_file(), timeout=LIFETIME)

    def built(self, generation):
        # Another object each time: one that was built once is not built again by its client.
        program = base64.b64encode(WRITE_BUILT.encode()).decode()
        return image.run_commands(f"echo {program} | base64 -d | python3 - {generation}").build(app)

    def with_file(self):
        return modal.Image.from_registry("python:3.11-slim").add_local_file(self.file.name, "/put")

    def check(self, image_of, generation):
        """@param image_of gives it; where that or the sandbox is gone before it is used, it is asked for again"""
        sandbox = again(lambda: modal.Sandbox.create("sleep", "infinity", app=app, image=image_of(), timeout=LIFETIME))
        found = again(lambda: sh(sandbox, f"python3 -c '{CHECK}' /built")).split()
        assert found == [str(generation)], (generation, found)
        again(lambda: sandbox.terminate(wait=True))

    def run(self, generation):
        at("image built")
        self.check(lambda: self.built(generation), generation)
        if generation > 3:
            at("image built again")
            self.check(lambda: self.built(generation - 3), generation - 3)
        at("image by name")
        self.check(lambda: modal.Image.from_name("crash-named"), 0)
        at("files put into a sandbox")
        text = again(lambda: sh(self.holder, "cat /put"))
        assert text == "0 put into sandboxes\n", text
        other = again(lambda: modal.Sandbox.create("sleep", "infinity", app=app, image=self.with_file(), timeout=LIFETIME))
        text = again(lambda: sh(other, "cat /put"))
        assert text == "0 put into sandboxes\n", text
        again(lambda: other.terminate(wait=True))

    def finish(self):
        self.check(lambda: modal.Image.from_id(self.snapshot), 0)
        self.holder.terminate(wait=True)


class Removals:
    """Volumes that come and go, so that there is always something to collect."""

    def run(self, generation):
        at("volume made and deleted")
        name = f"passing-{uuid.uuid4().hex}"
        volume = again(lambda: modal.Volume.from_name(name, create_if_missing=True).hydrate())

        def upload():
            with volume.batch_upload(force=True) as batch:
                batch.put_file(io.BytesIO(payload("block", generation)), "/file")

        again(upload)

        def delete():
            try:
                modal.Volume.objects.delete(name)
            except modal.exception.NotFoundError:
                pass

        again(delete)


def main():
    global slowest
    uploads, mounts, builds, snapshots, removals = Uploads(), Mounts(), Builds(), Snapshots(), Removals()
    mounts.run(0)
    say(event="ready")
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        for line in sys.stdin:
            command, *rest = line.split()
            if command == "finish":
                break
            generation = int(rest[0])
            slowest = ("", 0.0)
            doing.clear()
            works = (uploads.run, mounts.run, mounts.read_meanwhile, builds.run, snapshots.run, removals.run)
            futures = [pool.submit(step, work, generation) for work in works]
            say(event="working")
            sys.stdin.readline()  # it is about to be killed
            underway = sorted(what for what, _ in list(doing.values()) if what != "nothing")
            for future in futures:
                future.result()
            say(event="done", underway=underway, slowest={"what": slowest[0], "seconds": round(slowest[1], 1)})
    builds.finish()
    for sandbox in (mounts.writer, mounts.reader, snapshots.sandbox):
        assert sandbox.poll() is None
        sandbox.terminate(wait=True)
    say(event="done")


main()
