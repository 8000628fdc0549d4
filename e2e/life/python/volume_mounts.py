"""Volumes in sandboxes through the Python client: who sees what, and when."""

import contextlib
import io
import os
import signal
import uuid

import modal
from modal import exception
from harness import app, case, create, equal, eventually, image, raised, run, running


RUNTIME = os.environ.get("LIFE_RUNTIME", "runc")


def fresh(**options):
    return modal.Volume.from_name(f"mounted-{uuid.uuid4().hex[:12]}", create_if_missing=True, **options)


def put(volume, files):
    with volume.batch_upload(force=True) as batch:
        for path, content in files.items():
            batch.put_file(io.BytesIO(content), path)


def content(volume, path):
    return b"".join(volume.read_file(path))


def listed(volume):
    return sorted(entry.path for entry in volume.listdir("/", recursive=True))


def sh(sandbox, script, code=0):
    """What a script prints in a sandbox."""
    process = sandbox.exec("sh", "-c", script)
    out, err = process.stdout.read(), process.stderr.read()
    equal((process.wait(), err if code == 0 else ""), (code, ""))
    return out


@case
def a_mount_shows_what_the_volume_holds_and_its_own_writes():
    volume = fresh()
    put(volume, {"a/old": b"old\n", "top": b"top\n"})
    with running(volumes={"/data": volume}) as sandbox:
        equal(sh(sandbox, "cat /data/a/old /data/top; stat -c %F /data"), "old\ntop\ndirectory\n")
        sh(sandbox, "echo new > /data/a/new; echo more >> /data/a/old; rm /data/top; mkdir /data/b; ln -s a/new /data/link")
        equal(sh(sandbox, "cat /data/a/new /data/a/old /data/link; ls /data"), "new\nold\nmore\nnew\na\nb\nlink\n")


@case
def what_a_sandbox_wrote_is_in_the_volume_after_its_end():
    volume = fresh()
    put(volume, {"kept": b"kept", "gone/1": b"1", "gone/2": b"2", "turned/x": b"x"})
    with running(volumes={"/data": volume}) as sandbox:
        sh(sandbox, "cd /data; echo hello > made; mkdir -p deep/er; echo f > deep/er/f; rm -r gone; rm -r turned; echo file > turned")
        sh(sandbox, "cd /data; chmod 600 made; ln made twin; ln -s made link; head -c 5000000 /dev/zero > big; mkfifo fifo; mkdir empty")
    equal(listed(volume), ["big", "deep", "deep/er", "deep/er/f", "empty", "kept", "link", "made", "turned", "twin"])
    equal((content(volume, "made"), content(volume, "turned"), content(volume, "twin")), (b"hello\n", b"file\n", b"hello\n"))
    equal(content(volume, "big"), bytes(5000000))
    with running(volumes={"/other": volume}) as sandbox:
        equal(sh(sandbox, "cd /other; cat link; stat -c %a made; ls"), "hello\n600\nbig\ndeep\nempty\nkept\nlink\nmade\nturned\ntwin\n")


@case
def files_belong_to_the_users_of_whichever_sandbox_has_them():
    volume, other = fresh(), fresh()
    put(volume, {"old": b"old", "deep/old": b"old"})
    look = "cd /data; stat -c '%n %u:%g %a' . old deep deep/old own own/file own/link; cat own/file"
    seen = ". 0:0 755\nold 1000:1001 644\ndeep 7:7 755\ndeep/old 0:0 644\nown 0:0 1777\nown/file 65535:8 4755\nown/link 9:0 777\nx"
    with running(volumes={"/data": volume}) as reader:
        with running(volumes={"/data": volume, "/part": other.with_mount_options(sub_path="made/here")}) as sandbox:
            # What the kernel counts for each user is shared with nobody, with a volume neither.
            if RUNTIME == "runc":
                assert int(sh(sandbox, "cat /proc/self/uid_map").split()[1]) > 65535
            sh(sandbox, "cd /data; chown 1000:1001 old; chown 7:7 deep; mkdir -m 1777 own; printf x > own/file; ln -s file own/link")
            sh(sandbox, "cd /data/own; chown 65535:8 file; chmod 4755 file; chown -h 9 link; stat -c %u /part | grep 0; touch /part/x; su nobody -s /bin/sh -c 'touch /data/own/nobodys'")
            equal(sh(sandbox, look), seen)
        equal(sh(reader, "ls /data"), "deep\nold\n")
        reader.reload_volumes()
        equal(sh(reader, look), seen)
        sh(reader, "cd /data; echo new > deep/new; chown 0:0 old; chown 5 deep")
    with running(volumes={"/data": volume, "/other": other}) as sandbox:
        equal(sh(sandbox, "cd /data; stat -c %u:%g old deep deep/new own/file own/nobodys; ls deep"), "0:0\n5:7\n0:0\n65535:8\n65534:65534\nnew\nold\n")
        equal(sh(sandbox, "cd /other; stat -c %u:%g made made/here made/here/x"), "0:0\n" * 3)


@case
def however_a_sandbox_ends_its_writes_stay():
    write = "echo written > /data/file; "
    ends = {
        "exits": ("exit 0", {}),
        "fails": ("exit 3", {}),
        "is killed": ("kill -9 $$", {}),
        "times out": ("sleep 1000", {"timeout": 4}),
        "idles": ("sleep 1000", {"idle_timeout": 3}),
    }
    for what, (script, options) in ends.items():
        volume = fresh()
        sandbox = create("sh", "-c", write + script, volumes={"/data": volume}, **options)
        with contextlib.suppress(exception.Error):
            sandbox.wait(raise_on_termination=False)
        equal((what, content(volume, "file")), (what, b"written\n"))


@case
def a_client_reads_what_a_running_sandbox_has_written():
    volume = fresh()
    with running(volumes={"/data": volume}) as sandbox:
        for number in range(5):
            sh(sandbox, f"echo {number} > /data/file; echo x > /data/f{number}; rm -f /data/f{number - 1}; sync /data")
            equal((content(volume, "file"), listed(volume)), (f"{number}\n".encode(), [f"f{number}", "file"]))
        sh(sandbox, "mkdir /data/d; echo 1 > /data/d/1; mv /data/d /data/e; echo longer > /data/e/1")
        volume.commit()
        equal((content(volume, "e/1"), listed(volume)), (b"longer\n", ["e", "e/1", "f4", "file"]))


@case
def another_sandbox_sees_it_after_a_reload_and_not_before():
    volume = fresh()
    put(volume, {"dir/file": b"one\n", "dir/doomed": b"doomed\n", "swap": b"file\n"})
    with running(volumes={"/data": volume}) as writer, running(volumes={"/data": volume}) as reader:
        # Whatever its kernel keeps of directories and of names that are not there, it has now.
        look = "cd /data; cat dir/file; ls -R . | sort | tr '\\n' ' '; cat dir/new 2>/dev/null; test -e dir/doomed && echo doomed"
        before = sh(reader, look + "; echo own > /data/mine; echo end")
        sh(writer, "cd /data; echo two > dir/file; echo new > dir/new; rm dir/doomed; mkdir -p more/deep; echo d > more/deep/f; rm swap; mkdir swap; ln -s ../dir swap/up; sync /data")
        volume.commit()
        equal(sh(reader, look + "; echo end"), before.replace(" swap ", " mine swap ").replace("./dir: dir ", "./dir: dir "))
        reader.reload_volumes()
        equal(sh(reader, "cd /data; cat dir/file dir/new more/deep/f mine; readlink swap/up; ls . dir | tr '\\n' ' '"), "two\nnew\nd\nown\n../dir\n.: dir mine more swap  dir: file new ")
        writer.reload_volumes()
        equal(sh(writer, "cat /data/mine"), "own\n")
        put(volume, {"dir/file": b"three\n"})
        volume.remove_file("more", recursive=True)
        reader.reload_volumes()
        equal(sh(reader, "cat /data/dir/file; test -e /data/more || echo gone"), "three\ngone\n")
        # A reload is no write of the one that asked for it.
        put(volume, {"dir/file": b"four\n"})
        equal((content(volume, "dir/file"), sh(reader, "cat /data/dir/file")), (b"four\n", "three\n"))


@case
def the_last_writer_of_a_path_wins():
    volume = fresh()
    put(volume, {"file": b"first\n", "both/a": b"a"})
    with running(volumes={"/data": volume}) as one, running(volumes={"/data": volume}) as two:
        sh(one, "echo one > /data/file; sync /data")
        equal(content(volume, "file"), b"one\n")
        sh(two, "echo two > /data/file; rm -r /data/both; sync /data")
        sh(one, "echo new > /data/both/new")
        equal((content(volume, "file"), listed(volume)), (b"two\n", ["both", "both/new", "file"]))
        put(volume, {"file": b"client\n"})
        equal(sh(one, "cat /data/file"), "one\n")
        one.reload_volumes()
        equal(sh(one, "cat /data/file; ls /data/both"), "client\nnew\n")
    equal(content(volume, "file"), b"client\n")


@case
def read_only_sub_path_and_several():
    volumes = [fresh() for _ in range(4)]
    for volume in volumes:
        put(volume, {"a/b/file": b"deep\n", "top": b"top\n"})
    whole, read_only, sub, made = volumes
    mounts = {
        "/whole": whole,
        "/whole/inner": read_only.with_mount_options(read_only=True),
        "/mnt/deep/sub": sub.with_mount_options(sub_path="/a/b"),
        "/made": made.with_mount_options(sub_path="made/here"),
    }
    with running(volumes=mounts) as sandbox:
        equal(sh(sandbox, "cat /whole/top /whole/inner/a/b/file /mnt/deep/sub/file; ls /made"), "top\ndeep\ndeep\n")
        assert "Read-only" in sandbox.exec("sh", "-c", "echo x > /whole/inner/x").stderr.read()
        sh(sandbox, "echo s > /mnt/deep/sub/s; echo m > /made/m; echo w > /whole/w")
        equal(sh(sandbox, "ls /mnt/deep/sub/../.."), "deep\n")
        put(read_only, {"top": b"newer\n"})
        sandbox.reload_volumes()
        equal(sh(sandbox, "cat /whole/inner/top"), "newer\n")
    equal(listed(whole), ["a", "a/b", "a/b/file", "inner", "top", "w"])
    equal(listed(sub), ["a", "a/b", "a/b/file", "a/b/s", "top"])
    equal(listed(made), ["a", "a/b", "a/b/file", "made", "made/here", "made/here/m", "top"])
    equal((listed(read_only), content(read_only, "top")), (["a", "a/b", "a/b/file", "top"], b"newer\n"))


@case
def no_link_leads_out_of_the_volume():
    volume = fresh()
    with running(volumes={"/data": volume}) as sandbox:
        sh(sandbox, "cd /data; ln -s /etc etc; ln -s ../../../../etc up; ln -s /etc/hostname name; mkdir dir; echo x > dir/x; sync /data")
        for path in ("etc/passwd", "up/passwd"):
            raised(FileNotFoundError, lambda: content(volume, path))
        raised(exception.InvalidError, lambda: content(volume, "name"))
        # A directory that a reload is about to write in becomes a link.
        with running(volumes={"/data": volume}) as other:
            sh(other, "echo y > /data/dir/y; sync /data")
            volume.commit()
            sh(sandbox, "cd /data; rm -r dir; mkdir /aside; ln -s /aside dir")
            sandbox.reload_volumes()
            equal(sh(sandbox, "ls /aside"), "")
    for sub_path in ("etc", "up", "dir"):
        sandbox = create("true", volumes={"/data": volume.with_mount_options(sub_path=sub_path)})
        error = raised(exception.NotFoundError, lambda: sandbox.exec("true").wait())
        assert "no directory of the volume" in str(error), error
        sandbox.terminate()
    error = raised(exception.InvalidError, lambda: create(volumes={"/data": volume.with_mount_options(sub_path="../x")}))
    assert ".." in str(error), error


@case
def what_cannot_be_mounted_is_refused():
    volume = fresh().hydrate()
    for path in ("/proc", "/dev/x", "/__modal"):
        raised(exception.InvalidError, lambda: create(volumes={path: volume}))
    gone = fresh().hydrate()
    modal.Volume.objects.delete(gone.info().name)
    error = raised(exception.NotFoundError, lambda: create(volumes={"/data": gone}))
    assert "not found" in str(error), error


@case
def a_volume_that_is_deleted_stays_where_it_is_mounted():
    volume = fresh()
    put(volume, {"file": b"x"})
    with running(volumes={"/data": volume}) as sandbox:
        sh(sandbox, "cat /data/file")
        modal.Volume.objects.delete(volume.info().name)
        equal(sh(sandbox, "echo y > /data/y; cat /data/file /data/y"), "xy\n")
        raised(exception.NotFoundError, lambda: volume.listdir("/"))


@case
def programs_in_a_sandbox_work_on_many_files():
    volume = fresh()
    with running(volumes={"/data": volume}) as sandbox:
        sh(sandbox, "cd /data; for d in $(seq 20); do mkdir d$d; for f in $(seq 50); do echo $d/$f > d$d/f$f; done; done")
        equal(len(listed(volume)), 20 * 51)
        sh(sandbox, "cd /data; rm -r d1; mv d2 d0; echo changed > d3/f7")
    equal((len(listed(volume)), content(volume, "d0/f9"), content(volume, "d3/f7")), (19 * 51, b"2/9\n", b"changed\n"))


@case
def a_memory_map_is_in_the_volume():
    volume = fresh()
    program = (
        "import mmap, os, sys\n"
        "f = open('/data/map', 'wb+'); f.write(bytes(4096)); f.flush()\n"
        "m = mmap.mmap(f.fileno(), 4096)\n"
        "for line in sys.stdin:\n"
        "    m[:5] = line.strip().encode(); print('done', flush=True)\n"
    )
    with running(volumes={"/data": volume}) as sandbox:
        process = sandbox.exec("python3", "-c", program)
        answers = iter(process.stdout)
        for word in ("first", "secnd", "third"):
            process.stdin.write(word + "\n")
            process.stdin.drain()
            next(answers)
            volume.commit()
        process.stdin.write("final\n")
        process.stdin.drain()
        next(answers)
        sandbox.terminate(wait=True)
    equal(content(volume, "map")[:5], b"final")


@case
def a_snapshot_of_the_file_system_leaves_volumes_out():
    volume = fresh()
    put(volume, {"file": b"x"})
    with running(volumes={"/data": volume}) as sandbox:
        sh(sandbox, "mkdir /data/dir; mkfifo /data/dir/fifo; echo y > /data/dir/y; echo own > /own")
        snapshot = sandbox.snapshot_filesystem()
        equal(sh(sandbox, "cat /data/dir/y"), "y\n")
    with running(image=snapshot) as sandbox:
        equal(sh(sandbox, "cat /own; ls -A /data"), "own\n")


@case
def a_sidecar_has_volumes_of_its_own():
    volume = fresh()
    put(volume, {"file": b"shared\n"})
    with running(volumes={"/data": volume}) as sandbox:
        sidecar = sandbox._experimental_sidecars.create(
            "sleep", "infinity", name="helper", image=image.build(app), volumes={"/side": volume}
        )
        equal(sh(sidecar, "cat /side/file; echo side > /side/written"), "shared\n")
        equal(content(volume, "written"), b"side\n")
        sandbox.reload_volumes()
        equal(sh(sandbox, "cat /data/written"), "side\n")
        sh(sandbox, "echo main > /data/from-main; sync /data")
        sidecar.reload_volumes()
        equal(sh(sidecar, "cat /side/from-main; echo late > /side/late"), "main\n")
    equal(listed(volume), ["file", "from-main", "late", "written"])


@case
def steps_of_a_build_read_and_write_volumes():
    wheels, results = fresh(), fresh()
    put(wheels, {"packages/one": b"first\n"})

    def built(*commands):
        mounts = {"/wheels": wheels.with_mount_options(read_only=True), "/results": results.with_mount_options(sub_path="of/builds")}
        return image.run_commands(*commands, volumes=mounts).build(app)

    word = uuid.uuid4().hex
    made = built(f"cp /wheels/packages/one /copied; echo {word} > /results/{word}; ! touch /wheels/no")
    with running(image=made) as sandbox:
        # What is in a volume is no part of the image, nor is the place where it was.
        equal(sh(sandbox, "cat /copied; ls -d /wheels /results 2>/dev/null || echo gone"), "first\ngone\n")
    equal(content(results, f"of/builds/{word}"), f"{word}\n".encode())
    equal(listed(wheels), ["packages", "packages/one"])
    # Its content is no reason to build again, as it is none for a secret's.
    put(wheels, {"packages/one": b"second\n"})
    equal(built(f"cp /wheels/packages/one /copied; echo {word} > /results/{word}; ! touch /wheels/no").object_id, made.object_id)
    # What a step wrote before it failed is kept, as it is of a sandbox.
    raised(exception.ImageBuildError, lambda: built(f"echo half > /results/failed-{word}; exit 3"))
    equal(content(results, f"of/builds/failed-{word}"), b"half\n")
    gone = fresh()
    modal.Volume.objects.delete(gone.hydrate().name)
    raised(exception.NotFoundError, lambda: image.run_commands("true", volumes={"/gone": gone}).build(app))


run()
