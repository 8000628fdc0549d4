"""Secrets: from a dictionary, by name, their keys, and what the clients can do to them."""

import concurrent.futures
import os

import modal
from harness import case, create, equal, output, raised, run, running, shared

# The test looks for this value in the server's log, in its files and in what programs on the host can see.
VALUE = os.environ.get("LIFE_SECRET_VALUE", "chosen by hand")


def variables(sandbox, *names, **options):
    shown = ",".join(f"${name}" for name in names)
    return sandbox.exec("sh", "-c", f"echo {shown}", **options).stdout.read().strip().split(",")


@case
def a_dictionary_and_env_reach_entrypoint_and_execs():
    secret = modal.Secret.from_dict({"KEY": VALUE, "EMPTY": "", "ODD": "a b'\"$\n\u00fc"})
    with running("sh", "-c", "echo $KEY; exec sleep 300", secrets=[secret], env={"PLAIN": "yes"}) as sandbox:
        equal(next(iter(sandbox.stdout)).strip(), VALUE)
        equal(variables(sandbox, "KEY", "PLAIN", "EMPTY"), [VALUE, "yes", ""])
        equal(sandbox.exec("printenv", "ODD").stdout.read(), "a b'\"$\n\u00fc\n")
        # Not on the command line of anything, where any user of the sandbox or of the host could read it.
        lines = sandbox.exec("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout.read()
        assert VALUE not in lines


@case
def later_secrets_override_earlier_ones_and_env_overrides_all():
    first, second = modal.Secret.from_dict({"A": "1", "B": "1", "C": "1"}), modal.Secret.from_dict({"B": "2", "C": "2"})
    with running(secrets=[first, second], env={"C": "3"}) as sandbox:
        equal(variables(sandbox, "A", "B", "C"), ["1", "2", "3"])
        equal(variables(sandbox, "A", "B", "C", env={"A": "exec"}), ["exec", "2", "3"])


@case
def a_named_secret_is_created_used_listed_and_deleted():
    name = "life-named"
    modal.Secret.objects.create(name, {"NAMED_KEY": VALUE, "OTHER_KEY": "other"})
    try:
        raised(modal.exception.AlreadyExistsError, lambda: modal.Secret.objects.create(name, {"NAMED_KEY": "x"}))
        modal.Secret.objects.create(name, {"NAMED_KEY": "ignored"}, allow_existing=True)
        assert name in [secret.name for secret in modal.Secret.objects.list()]
        secret = modal.Secret.from_name(name, required_keys=["NAMED_KEY", "OTHER_KEY"])
        with running(secrets=[secret]) as sandbox:
            equal(variables(sandbox, "NAMED_KEY"), [VALUE])
        equal(shared().exec("printenv", "NAMED_KEY", secrets=[secret]).stdout.read(), VALUE + "\n")
        equal(output("printenv", "NAMED_KEY")[0], 1)
        missing = modal.Secret.from_name(name, required_keys=["NAMED_KEY", "NOT_THERE"])
        error = raised(modal.exception.ConflictError, lambda: create(secrets=[missing]))
        assert "NOT_THERE" in str(error) and VALUE not in str(error), error
    finally:
        modal.Secret.objects.delete(name)
    raised(modal.exception.NotFoundError, lambda: modal.Secret.objects.delete(name))
    modal.Secret.objects.delete(name, allow_missing=True)
    error = raised(modal.exception.NotFoundError, lambda: create(secrets=[modal.Secret.from_name(name)]))
    assert name in str(error), error


@case
def a_named_secret_is_changed_for_what_starts_afterwards():
    name = "life-changed"
    modal.Secret.objects.create(name, {"CHANGING": "before"})
    try:
        with running(secrets=[modal.Secret.from_name(name)]) as sandbox:
            modal.Secret.from_name(name).update({"CHANGING": "after"})
            equal(variables(sandbox, "CHANGING"), ["before"])
            equal(variables(sandbox, "CHANGING", secrets=[modal.Secret.from_name(name)]), ["after"])
    finally:
        modal.Secret.objects.delete(name)


@case
def secrets_of_sandboxes_that_start_together_are_not_mixed_up():
    def one(number):
        with running(secrets=[modal.Secret.from_dict({"NUMBER": str(number)})]) as sandbox:
            return variables(sandbox, "NUMBER")

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        equal(list(pool.map(one, range(8))), [[str(number)] for number in range(8)])


@case
def an_error_never_shows_a_value():
    for options in ({"env": {"bad name": VALUE}}, {"secrets": [modal.Secret.from_dict({"bad-name": VALUE})]}):
        error = raised(modal.exception.InvalidError, lambda options=options: create(**options))
        assert VALUE not in str(error), "the value is in the error"
    process = shared().exec("/no/program", env={"KEY": VALUE})
    equal(process.wait(), 128)
    assert VALUE not in process.stderr.read(), "the value is in the error"


if "LIFE_KEEP_NAME" in os.environ:

    @case
    def a_sandbox_with_secrets_is_left_running_for_the_test_to_look_at():
        modal.Secret.objects.create(os.environ["LIFE_KEEP_NAME"], {"NAMED_KEY": VALUE}, allow_existing=True)
        secrets = [modal.Secret.from_dict({"KEY": VALUE}), modal.Secret.from_name(os.environ["LIFE_KEEP_NAME"])]
        sandbox = create("sleep", "300", name=os.environ["LIFE_KEEP_NAME"], secrets=secrets, verbose=True)
        process = sandbox.exec("sh", "-c", "echo started; exec sleep 300", env={"EXEC_KEY": VALUE})
        equal(next(iter(process.stdout)), "started\n")
        equal(output("printenv", "KEY", env={"KEY": "not secret"})[1], "not secret\n")


run()
