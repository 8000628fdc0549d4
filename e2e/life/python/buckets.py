"""Buckets in sandboxes through the Python client. `buckets.test.ts` runs the S3 server: its buckets are the directories in LIFE_BUCKETS."""

import os
import pathlib
import signal
import uuid

import modal
from modal import exception
from bucket_harness import KEYS, bucket, put, stored
from harness import app, case, create, equal, eventually, image, raised, run, running, sh


RUNTIME = os.environ.get("LIFE_RUNTIME", "runc")


@case
def files_are_objects_and_objects_are_files():
    prefix = put({"old": b"old\n", "deep/er/file": b"deep\n"})
    with running(volumes={"/data": bucket(prefix)}) as sandbox:
        equal(sh(sandbox, "cd /data; cat old deep/er/file; find . -type f | sort"), "old\ndeep\n./deep/er/file\n./old\n")
        sh(sandbox, "cd /data; echo new > new; echo more >> old; mkdir dir; echo f > dir/f; mv new renamed; rm -r deep")
        equal((stored(prefix, "renamed"), stored(prefix, "old"), stored(prefix, "dir/f")), (b"new\n", b"old\nmore\n", b"f\n"))
        equal(sh(sandbox, "cd /data; ls; stat -c '%A %U' old dir ."), "dir\nold\nrenamed\n-rwxr-xr-x root\ndrwxr-xr-x root\ndrwxr-xr-x root\n")
    assert not (pathlib.Path(os.environ["LIFE_BUCKETS"]) / "first" / prefix / "new").exists()
    assert not (pathlib.Path(os.environ["LIFE_BUCKETS"]) / "first" / prefix / "deep/er/file").exists()


@case
def its_files_are_those_of_the_users_of_its_sandbox():
    prefix = put({"old": b"old"})
    with running(volumes={"/data": bucket(prefix)}) as sandbox:
        if RUNTIME == "runc":
            # What the kernel counts for each user is shared with nobody, with a bucket neither.
            assert int(sh(sandbox, "cat /proc/self/uid_map").split()[1]) > 65535
        refused = "cd /data; cat old; touch old new 2>&1 | grep -c denied"
        equal(sh(sandbox, f"su nobody -s /bin/sh -c '{refused}'"), "old2\n")
        sh(sandbox, "cd /data; touch new; mkdir dir; echo x > dir/x")
        equal(sh(sandbox, "cd /data; stat -c %u:%g . old new dir dir/x"), "0:0\n" * 5)


@case
def what_a_program_has_closed_is_in_the_bucket():
    prefix = put({})
    program = (
        "import os, sys\n"
        "f = open('/data/file', 'wb')\n"
        "for line in sys.stdin:\n"
        "    f.write(line.encode() * 1000000); f.close(); print('closed', flush=True)\n"
        "    f = open('/data/file', 'ab')\n"
    )
    with running(volumes={"/data": bucket(prefix)}) as sandbox:
        process = sandbox.exec("python3", "-c", program)
        answers = iter(process.stdout)
        for count in range(1, 4):
            process.stdin.write("line\n")
            process.stdin.drain()
            equal(next(answers), "closed\n")
            equal(stored(prefix, "file"), b"line\n" * 1000000 * count)
        sandbox.terminate(wait=True)
    equal(len(stored(prefix, "file")), 15000000)


@case
def what_others_write_is_seen():
    prefix = put({"file": b"one\n"})
    with running(volumes={"/data": bucket(prefix)}) as one, running(volumes={"/data": bucket(prefix)}) as other:
        equal((sh(one, "cat /data/file"), sh(other, "cat /data/file; ls /data")), ("one\n", "one\nfile\n"))
        sh(one, "echo 'two, longer' > /data/file; echo n > /data/new")
        eventually(lambda: sh(other, "cat /data/file; ls /data") == "two, longer\nfile\nnew\n", "what the one wrote")
        put({"file": b"3rd\n", "from-outside": b"x"}, prefix)
        eventually(lambda: sh(one, "cat /data/file; ls /data") == "3rd\nfile\nfrom-outside\nnew\n", "what came from outside")
        sh(one, "rm /data/new")
        eventually(lambda: sh(other, "ls /data") == "file\nfrom-outside\n", "what was removed")


@case
def read_only_several_and_a_volume_between():
    prefix, other = put({"file": b"first\n"}), put({"file": b"second\n"}, name="second")
    volume = modal.Volume.from_name(f"bucket-{uuid.uuid4().hex[:12]}", create_if_missing=True)
    mounts = {
        "/data": volume,
        "/data/inner": bucket(prefix, read_only=True),
        "/again": bucket(prefix),
        "/other": bucket(other, name="second"),
    }
    with running(volumes=mounts) as sandbox:
        equal(sh(sandbox, "cat /data/inner/file /again/file /other/file"), "first\nfirst\nsecond\n")
        assert "Read-only" in sandbox.exec("sh", "-c", "echo x > /data/inner/x").stderr.read()
        assert "Read-only" in sandbox.exec("sh", "-c", "mount -o remount,rw /data/inner; rm /data/inner/file").stderr.read()
        sh(sandbox, "echo v > /data/v; echo o > /other/o; echo a > /again/a")
    equal((stored(prefix, "a"), stored(other, "o", name="second")), (b"a\n", b"o\n"))
    assert not (pathlib.Path(os.environ["LIFE_BUCKETS"]) / "first" / prefix / "x").exists()


@case
def nothing_above_the_prefix_is_seen():
    outer = put({"secret": b"hidden", "inner/file": b"x\n"})
    with running(volumes={"/data": bucket(outer + "inner/")}) as sandbox:
        equal(sh(sandbox, "ls -A /data; cat /data/../data/file; ln -s ../secret /data/up"), "file\nx\n")
        assert sandbox.exec("cat", "/data/up").wait() != 0


@case
def the_keys_are_nowhere_in_the_sandbox():
    with running(volumes={"/data": bucket(put({"file": b"x"}))}) as sandbox:
        sh(sandbox, "cat /data/file")
        found = sandbox.exec("sh", "-c", f"env; cat /proc/*/environ /proc/*/cmdline /proc/mounts | tr '\\0' '\\n'; find / -xdev -name '*s3f[s]*' 2>/dev/null").stdout.read()
        for hidden in (*KEYS.values(), "s3fs", "7070"):
            assert hidden not in found, (hidden, found)


@case
def a_sandbox_without_a_network_has_its_bucket():
    prefix = put({"file": b"x\n"})
    with running(volumes={"/data": bucket(prefix)}, block_network=True) as sandbox:
        equal(sh(sandbox, "cat /data/file; echo y > /data/y"), "x\n")
    equal(stored(prefix, "y"), b"y\n")


@case
def a_stored_secret_opens_a_bucket():
    modal.Secret.objects.create("bucket-keys", KEYS, allow_existing=True)
    mount = bucket(put({"file": b"x\n"}), secret=modal.Secret.from_name("bucket-keys"))
    with running(volumes={"/data": mount}) as sandbox:
        equal(sh(sandbox, "cat /data/file"), "x\n")
    google = modal.Secret.from_dict({"GOOGLE_ACCESS_KEY_ID": KEYS["AWS_ACCESS_KEY_ID"], "GOOGLE_ACCESS_KEY_SECRET": KEYS["AWS_SECRET_ACCESS_KEY"]})
    with running(volumes={"/data": bucket(put({"file": b"y\n"}), secret=google)}) as sandbox:
        equal(sh(sandbox, "cat /data/file"), "y\n")


@case
def a_public_bucket_needs_no_secret():
    put({"file": b"open\n"}, "here/", name="public")
    with running(volumes={"/data": bucket("here/", name="public", secret=None, read_only=True)}) as sandbox:
        equal(sh(sandbox, "cat /data/file"), "open\n")


@case
def a_prefix_that_nothing_has_yet_is_an_empty_directory():
    prefix = f"{uuid.uuid4().hex[:12]}/"
    with running(volumes={"/data": bucket(prefix)}) as sandbox:
        equal(sh(sandbox, "ls -A /data; echo x > /data/first; cat /data/first"), "x\n")
    equal(stored(prefix, "first"), b"x\n")


@case
def what_is_kept_meanwhile_is_bounded_by_the_sandboxs_disk():
    prefix = put({"small": b"x"})
    with running(volumes={"/data": bucket(prefix)}, experimental_options={"ephemeral_disk": 128}) as sandbox:
        sandbox.exec("sh", "-c", "head -c 300000000 /dev/zero > /data/large").wait()
        # Whatever became of that, the sandbox and its bucket go on.
        equal(sh(sandbox, "cat /data/small; echo y > /data/after; df -m / | tail -1 | awk '{ print ($2 < 200) }'"), "x1\n")
    equal(stored(prefix, "after"), b"y\n")


@case
def programs_work_on_it_as_on_a_file_system():
    prefix = put({})
    with running(volumes={"/data": bucket(prefix)}) as sandbox:
        sh(sandbox, "mkdir /tmp/src; for i in $(seq 20); do echo $i > /tmp/src/f$i; done; cp -r /tmp/src /data/; tar cf /data/all.tar -C /tmp src; diff -r /tmp/src /data/src")
        equal(sh(sandbox, "tar tf /data/all.tar | wc -l; ls /data/src | wc -l; grep -rl '^7$' /data/src"), "21\n20\n/data/src/f7\n")
        sh(sandbox, "head -c 40000000 /dev/urandom > /tmp/big; cp /tmp/big /data/big; cmp /tmp/big /data/big; dd if=/tmp/big of=/data/big bs=1M seek=10 count=3 conv=notrunc 2>/dev/null; test $(stat -c %s /data/big) = 40000000")
        sh(sandbox, "python3 -c \"import mmap; f = open('/data/big', 'rb'); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); assert m[:100] == open('/tmp/big', 'rb').read(100)\"")
        sh(sandbox, "printf 'print(40 + 2)' > /data/program.py; test $(python3 /data/program.py) = 42; printf '#!/bin/sh\\necho ran' > /data/run; test $(/data/run) = ran; cp /bin/echo /data/echo; test $(/data/echo here) = here")
    equal(len(stored(prefix, "big")), 40000000)


@case
def a_snapshot_leaves_buckets_out():
    prefix = put({"file": b"x"})
    with running(volumes={"/data": bucket(prefix)}) as sandbox:
        sh(sandbox, "cat /data/file; echo own > /own")
        snapshot = sandbox.snapshot_filesystem()
    with running(image=snapshot) as sandbox:
        equal(sh(sandbox, "cat /own; ls -A /data"), "own\n")
    equal(stored(prefix, "file"), b"x")


def ended_with_the_reason(mounts):
    sandboxes = [(create(volumes={"/data": mount}), words) for mount, words in mounts]
    for sandbox, words in sandboxes:
        error = raised(exception.NotFoundError, lambda: sandbox.exec("true").wait())
        assert words in str(error).lower() and "/data" in str(error), (words, error)
        sandbox.terminate()


@case
def what_cannot_be_mounted_ends_the_sandbox_with_the_reason():
    wrong = modal.Secret.from_dict({**KEYS, "AWS_SECRET_ACCESS_KEY": "wrong"})
    ended_with_the_reason([(bucket("", secret=wrong), "credentials"), (bucket("", name="no-such-bucket"), "not found")])


@case
def what_is_out_of_reach_ends_the_sandbox_with_the_reason():
    # On the machine itself, and where no sandbox may go.
    hosts = ("127.0.0.1:22", "169.254.169.254", "10.1.2.3:9000", "no-such-host.invalid")
    ended_with_the_reason([(bucket("", endpoint=f"http://{host}"), "connect") for host in hosts])


@case
def what_is_no_bucket_is_refused():
    without_keys = modal.Secret.from_dict({"OTHER": "x"})
    role = modal.CloudBucketMount("first", oidc_auth_role_arn="arn:aws:iam::1:role/x")
    for mount, error in (
        (bucket("", name="a,nosuid"), exception.InvalidError),
        (bucket("", name="-o"), exception.InvalidError),
        (bucket("../"), exception.InvalidError),
        (bucket("a//b/"), exception.InvalidError),
        (bucket("", endpoint="http://x,use_cache=/"), exception.InvalidError),
        (bucket("", endpoint="http://user:password@host"), exception.InvalidError),
        (bucket("", endpoint="file:///etc"), exception.InvalidError),
        (bucket("", endpoint="http://[::1]"), exception.InvalidError),
        (bucket("", secret=without_keys), exception.InvalidError),
        (role, exception.UnimplementedError),
    ):
        raised(error, lambda: create(volumes={"/data": mount}))
    raised(exception.InvalidError, lambda: create(volumes={"/proc/x": bucket("")}))


@case
def a_dead_program_is_an_error_and_no_wait():
    prefix = put({"file": b"x"})
    with running(volumes={"/data": bucket(prefix)}) as sandbox:
        sh(sandbox, "cat /data/file")
        killed = 0
        for entry in pathlib.Path("/proc").iterdir():
            try:
                command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            except OSError:
                continue
            if b"s3fs" in command and f"/{prefix.rstrip('/')}\0".encode() in command:
                os.kill(int(entry.name), signal.SIGKILL)
                killed += 1
        equal(killed, 1)
        process = sandbox.exec("cat", "/data/file")
        assert process.wait() != 0, process.stdout.read()


@case
def a_sidecar_has_none():
    with running() as sandbox:
        error = raised(
            exception.UnimplementedError,
            lambda: sandbox._experimental_sidecars.create("true", name="side", image=image.build(app), volumes={"/data": bucket("")}),
        )
        assert "sidecar" in str(error), error


run()
