"""Buckets stay with their sandbox whichever server runs, and let it go. `buckets.test.ts` kills the server, or has the store stand still, between the cases."""

import modal
from bucket_harness import bucket, put, stored
from harness import case, create, equal, run, sh

PREFIX = "restart/"


@case
def before_the_restart():
    put({"file": b"x\n"}, PREFIX)
    sandbox = create(volumes={"/data": bucket(PREFIX)}, name="bucket-holder")
    equal(sh(sandbox, "cat /data/file"), "x\n")


@case
def after_the_restart():
    sandbox = modal.Sandbox.from_name("life", "bucket-holder")
    put({"other": b"y\n"}, PREFIX)
    equal(sh(sandbox, "cat /data/file /data/other; echo z > /data/z"), "x\ny\n")
    equal(stored(PREFIX, "z"), b"z\n")
    sandbox.terminate(wait=True)


@case
def begin_to_wait():
    put({f"f{number}": b"x\n" for number in range(10)}, "waiting/")
    sandbox = create(volumes={"/data": bucket("waiting/")}, name="bucket-waiter")
    equal(sh(sandbox, "cat /data/f1"), "x\n")


@case
def end_what_waits():
    sandbox = modal.Sandbox.from_name("life", "bucket-waiter")
    # More than one, and each waits for the store.
    for number in range(2, 6):
        sandbox.exec("sh", "-c", f"echo begun; cat /data/f{number}").stdout.__iter__().__next__()
    sandbox.terminate(wait=True)


@case
def begin_to_mount():
    put({"file": b"x\n"}, "mounting/")
    create(volumes={"/data": bucket("mounting/")}, name="bucket-mounter")


@case
def end_what_mounts():
    sandbox = modal.Sandbox.from_name("life", "bucket-mounter")
    equal(sh(sandbox, "cat /data/file"), "x\n")
    sandbox.terminate(wait=True)


run()
