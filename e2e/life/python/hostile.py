"""Programs that turn against their own sandbox's agent and against what all sandboxes share, under each runtime. They are in `../attacks`."""

import os
import pathlib
import subprocess
import sys
import uuid

import modal
from harness import case, equal, python, run, running, sh, shared

RUNTIME = os.environ.get("LIFE_RUNTIME", "runc")
ATTACKS = pathlib.Path(__file__).parent.parent / "attacks"


def attack(sandbox, name, **options):
    """What a program of `../attacks` prints, as root."""
    return python(sandbox, (ATTACKS / f"{name}.py").read_text(), **options)


@case
def control_groups_are_to_be_read_only():
    equal(attack(shared(), "write_cgroups"), "")
    if RUNTIME == "runc":
        assert int(sh(shared(), "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null || true"))


@case
def nobody_writes_audit_records():
    assert attack(shared(), "forge_audit") != "written\n"
    if RUNTIME == "runc":
        # PAM and sudo tell a refused record from a machine without an audit log, which is what they must take this for.
        equal(sh(shared(), "su nobody -s /bin/sh -c 'id -un'"), "nobody\n")


@case
def the_agent_is_nobodys_to_trace_read_or_limit():
    with running("sleep", "300") as sandbox:
        equal(attack(sandbox, "take_agent", timeout=60), "")
        equal(sandbox.exec("echo", "goes on").stdout.read(), "goes on\n")


@case
def programs_trace_their_own():
    equal(attack(shared(), "trace_own"), "ok\n")


@case
def no_signal_reaches_the_agent():
    with running("sleep", "300") as sandbox:
        equal(attack(sandbox, "signal_agent", timeout=60), "sent\n")
        equal(sandbox.exec("echo", "goes on").stdout.read(), "goes on\n")
        equal(sandbox.poll(), None)


@case(alone=True)
def what_is_counted_for_each_user_is_taken_from_nobody_else():
    use = (ATTACKS / "use_quotas.py").read_text()
    take = (ATTACKS / "take_quotas.py").read_text()
    volume = modal.Volume.from_name(f"hostile-{uuid.uuid4().hex[:12]}", create_if_missing=True)
    with running("sleep", "300", volumes={"/data": volume}) as greedy, running("sleep", "300") as neighbour:
        holders = []
        for quota in ("inotify", "queued-signals", "asynchronous-io", "terminals", "pipes"):
            holder = greedy.exec("python3", "-c", take, quota)
            holders.append(holder)
            taken = next(iter(holder.stdout))
            print(f"{quota}: {taken.strip()} taken", file=sys.stderr)
            equal((quota, attack(neighbour, "use_quotas")), (quota, ""))
            here = subprocess.run([sys.executable, "-c", use], capture_output=True, text=True, check=True)
            equal((quota, here.stdout), (quota, ""))


@case
def package_managers_have_the_root_that_they_need():
    with running() as sandbox:
        sh(
            sandbox,
            """
            touch /file; chown 65535:65535 /file; test "$(stat -c %u:%g /file)" = 65535:65535
            chown -h nobody:nogroup /file; mkfifo /fifo; ! mknod /device c 1 3 2>/dev/null
            cp /usr/bin/id /usr/local/bin/own-id; chown root:root /usr/local/bin/own-id; chmod 4755 /usr/local/bin/own-id
            test "$(su nobody -s /bin/sh -c '/usr/local/bin/own-id -u')" = 0
            useradd --create-home somebody; test "$(su somebody -c 'id -un; touch ~/mine; stat -c %U ~/mine' | tr '\\n' ' ')" = 'somebody somebody '
            dpkg --audit; test "$(stat -c %U:%G /etc/shadow)" = root:shadow
            """,
        )


run()
