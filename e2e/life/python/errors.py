"""The classes and words of errors that programs look at."""

import modal
from harness import app, case, create, image, raised, run, running
from modal import exception


def says(error, *words):
    for word in words:
        assert word in str(error), f"{word!r} is not in {str(error)!r}"


@case
def an_id_that_cannot_be_one_is_invalid_and_one_of_nothing_is_not_found():
    for bad in ["sb-bad", "no-such-form", "sb-0000000000000000000/00", "im-0000000000000000000000"]:
        says(raised(exception.InvalidError, lambda: modal.Sandbox.from_id(bad)), bad)
    for absent in ["sb-0000000000000000000000", "sb-00000000000000000000000000"]:
        raised(exception.NotFoundError, lambda: modal.Sandbox.from_id(absent))


@case
def a_cloud_or_region_that_nobody_has_is_invalid():
    says(raised(exception.InvalidError, lambda: create(cloud="invalid-cloud")), "invalid-cloud")
    says(raised(exception.InvalidError, lambda: create(region="invalid-region")), "invalid-region")
    says(raised(exception.InvalidError, lambda: create(region=["us-east", "invalid-region"])), "invalid-region")


@case
def a_cloud_and_region_that_exist_are_accepted():
    with running(cloud="aws", region=["us-east-1", "eu", "us-west-2"]) as sandbox:
        assert sandbox.exec("true").wait() == 0
    with running(cloud="auto", region="us-east"):
        pass


@case
def a_name_that_is_taken_already_exists():
    with running(name="taken"), running(name="other") as other:
        says(raised(exception.AlreadyExistsError, lambda: create(name="taken")), "'taken'", "already exists")
        with running() as unnamed:
            says(raised(exception.AlreadyExistsError, lambda: unnamed._experimental_set_name("taken")), "already exists")
        says(raised(exception.ConflictError, lambda: other._experimental_set_name("third")), "already has the name 'other'")


@case
def an_image_that_is_absent_or_deleted_is_not_found():
    absent = "im-0000000000000000000000"
    error = raised(exception.NotFoundError, lambda: create(image=modal.Image.from_id(absent)))
    says(error, f"Could not find image with ID {absent}")
    error = raised(exception.NotFoundError, lambda: modal.experimental.image_delete(absent))
    says(error, f"No Image with ID {absent}")
    # A value of this run's own, so that no other test's image is deleted.
    with running() as sandbox:
        made = sandbox.snapshot_filesystem()
    modal.experimental.image_delete(made.object_id)
    gone = modal.Image.from_id(made.object_id)
    says(raised(exception.NotFoundError, lambda: create(image=gone)), "Could not find image with ID")
    says(raised(exception.NotFoundError, lambda: modal.experimental.image_delete(made.object_id)), "No Image with ID")


@case
def keys_that_a_secret_lacks_are_all_named():
    modal.Secret.objects.create("errors-keys", {"HERE": "1"}, allow_existing=True)
    secret = modal.Secret.from_name("errors-keys", required_keys=["A_KEY", "HERE", "B_KEY"])
    says(raised(exception.ConflictError, lambda: create(secrets=[secret])), "Secret is missing key(s): A_KEY, B_KEY")
    modal.Secret.objects.delete("errors-keys")


@case
def a_range_of_addresses_that_is_none_is_invalid():
    for bad in ["not-an-ip/8", "10.0.0.0/33", "256.0.0.1/8"]:
        for parameter in ["outbound_cidr_allowlist", "inbound_cidr_allowlist"]:
            error = raised(exception.InvalidError, lambda: create(**{parameter: [bad]}))
            says(error, f"Invalid CIDR: {bad}")


@case
def what_a_sandbox_that_ended_cannot_do_any_more_says_that_it_already_completed():
    sandbox = create("sleep", "300")
    sandbox.terminate(wait=True)
    says(raised(exception.NotFoundError, lambda: sandbox.exec("true")), "already completed", "terminated")
    again = modal.Sandbox.from_id(sandbox.object_id)
    says(raised(exception.NotFoundError, lambda: again.exec("true")), "already completed")
    says(raised(exception.NotFoundError, lambda: again.snapshot_filesystem()), "already completed")
    says(raised(exception.ConflictError, lambda: again._experimental_set_name("late")), "already completed")

    def write():
        again.stdin.write("late\n")
        again.stdin.drain()

    says(raised(ValueError, write), "already completed")
    says(raised(exception.NotFoundError, lambda: again.filesystem.read_text("/etc/hostname")), "already shut down")
    assert again.tunnels() == {}
    again.terminate()
    again.set_tags({"still": "possible"})


@case
def a_readiness_that_can_no_longer_come_is_a_conflict():
    sandbox = create("sleep", "300", readiness_probe=modal.Probe.with_exec("false"))
    sandbox.terminate(wait=True)
    says(raised(exception.ConflictError, lambda: sandbox.wait_until_ready(timeout=5)), "already completed")


@case
def any_characters_arrive_as_they_are():
    error = raised(exception.NotFoundError, lambda: modal.App.lookup("x", environment_name="ü-100%41-\n-😀/a:b,c"))
    says(error, "ü-100%41-\n-😀/a:b,c")


@case
def snapshots_of_the_memory_need_gvisor():
    says(raised(exception.UnimplementedError, lambda: create(_experimental_enable_snapshot=True)), "needs gVisor")


run()
