"""The official command line, as far as it concerns sandboxes: app, container, secret, environment, shell."""

import json
import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import time

import modal
from harness import app, case, create, equal, eventually, patient, run, running


def command(*args, code=0, **options):
    """Runs `modal ARGS` and gives its stdout."""
    environment = {**os.environ, "COLUMNS": "300", **options.pop("env", {})}
    done = subprocess.run(
        [sys.executable, "-m", "modal", *args], capture_output=True, text=True, env=environment, timeout=patient(100), **options
    )
    assert done.returncode == code, f"modal {' '.join(args)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout if code == 0 else done.stdout + done.stderr


def task_of(sandbox):
    """The container id of a sandbox, which the lists of the command line show."""
    from modal._utils.async_utils import synchronizer

    return synchronizer.create_blocking(lambda inner: inner._get_task_id())(synchronizer._translate_in(sandbox))


def on_terminal(args, script, rows=33, columns=111, seconds=60):
    """Runs `modal ARGS` on a terminal of that size and types what `script` says: pairs of what to wait for and what to type then."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [sys.executable, "-m", "modal", *args], {**os.environ, "TERM": "xterm"})
    import fcntl
    import termios

    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    seen, deadline = "", time.monotonic() + seconds
    steps = list(script)
    while True:
        ready, _, _ = select.select([terminal], [], [], max(0, deadline - time.monotonic()))
        assert ready, f"silence, waiting for {steps[:1]} after {seen!r}"
        try:
            data = os.read(terminal, 65536)
        except OSError:
            data = b""
        if not data:
            break
        seen += data.decode(errors="replace")
        while steps and steps[0][0] in seen:
            os.write(terminal, steps.pop(0)[1])
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert not steps, f"never saw {steps[0][0]!r} in {seen!r}"
    return os.waitstatus_to_exitcode(status), seen


@case
def apps_are_listed():
    listed = json.loads(command("app", "list", "--json"))
    assert any("life" in row.values() and app.app_id in row.values() for row in listed), listed


@case
def logs_of_an_app_and_of_a_container():
    name = f"life-logs-{os.getpid()}"  # the history of an app reaches back beyond this run
    log_app = modal.App.lookup(name, create_if_missing=True)
    sandbox = create("sh", "-c", "echo to stdout; echo to stderr >&2; echo found me", app=log_app)
    sandbox.wait()
    for subject in (["app", "logs", name], ["app", "logs", log_app.app_id], ["container", "logs", task_of(sandbox)]):
        lines = command(*subject).splitlines()
        assert {"to stdout", "to stderr", "found me"} <= {line.strip() for line in lines}, (subject, lines)
    assert "found me" in command("container", "logs", sandbox.object_id)
    equal(command("app", "logs", name, "--search", "found").strip(), "found me")
    equal(command("app", "logs", name, "--source", "stderr").strip(), "to stderr")


@case
def containers_are_listed_and_stopped():
    with running() as sandbox:
        task = task_of(sandbox)
        rows = eventually(
            lambda: [row for row in json.loads(command("container", "list", "--json")) if task in row.values()], "the row"
        )
        assert app.app_id in rows[0].values(), rows
        command("container", "stop", "--yes", task)
        sandbox.wait(raise_on_termination=False)
        equal(sandbox.returncode, 137)
        assert task not in command("container", "list", "--json")


@case
def a_command_runs_in_a_container():
    with running() as sandbox:
        # The client prints in a task that its end does not wait for: on a busy machine it may print nothing.
        argv = ["container", "exec", "--no-pty", task_of(sandbox), "--", "sh", "-c", "echo in $PWD; exit 0"]
        eventually(lambda: command(*argv) == "in /\n", "it prints what the command says")


@case
def a_terminal_of_the_size_of_the_callers_reaches_the_container():
    with running() as sandbox:
        script = [("$", b"echo $((40+2)); stty size\r"), ("33 111", b"exit\r")]
        code, seen = on_terminal(["container", "exec", "--pty", task_of(sandbox), "--", "env", "PS1=$ ", "bash", "--norc"], script)
        equal(code, 0)
        assert "42\r\n33 111\r\n" in seen, seen


@case
def a_shell_opens_in_a_running_sandbox():
    with running() as sandbox:
        sandbox.exec("touch", "/witness").wait()
        code, seen = on_terminal(
            ["shell", sandbox.object_id], [("#", b"ls -d /witness\r"), ("\r/witness", b"exit\r")]
        )
        equal(code, 0)
        assert "/witness" in seen, seen


@case
def a_shell_opens_in_a_sandbox_of_its_own_and_ends_it():
    out = command("shell", "--no-pty", "--image", "python:3.11-slim", "--cmd", "echo from $((40+2))")
    assert "from 42" in out, out


PROGRAM = """
import modal
app = modal.App("life-run")
@app.local_entrypoint()
def main(word: str):
    sandbox = modal.Sandbox.create("sh", "-c", f"echo {word}; exit 3", app=app, image=modal.Image.from_registry("python:3.11-slim"))
    sandbox.wait()
    print("ended with", sandbox.returncode)
"""


@case
def a_program_with_an_entrypoint_is_run_and_its_app_ends_with_it():
    # Nothing ends the wait for an app's last output but its end.
    patience = {"MODAL_LOGS_TIMEOUT": "1000"}
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        file.write(PROGRAM)
        file.flush()
        for detached in ([], ["--detach"]):
            out = command("run", *detached, file.name, "--word", "shown", env=patience)
            assert "\nshown\n" in out and "\nended with 3\n" in out, out
        command("deploy", file.name)
        again = command("deploy", file.name)
        assert "App deployed" in again, again
        command("app", "stop", "--yes", "life-run")
    states = [row["state"] for row in json.loads(command("app", "list", "--json")) if row["description"] == "life-run"]
    equal(set(states), {"stopped"})


@case
def secrets_are_created_listed_and_deleted():
    name = "life-command"
    try:
        shown = command("secret", "create", name, "FIRST=one value", "SECOND=another")
        assert "one value" not in shown, "the value is shown"
        assert name in command("secret", "create", name, "FIRST=x", code=1)
        command("secret", "create", "--force", name, "FIRST=forced", "SECOND=too")
        assert any(name in row.values() for row in json.loads(command("secret", "list", "--json")))
        with running(secrets=[modal.Secret.from_name(name)]) as sandbox:
            equal(sandbox.exec("printenv", "FIRST").stdout.read(), "forced\n")
    finally:
        command("secret", "delete", "--yes", name)
    assert name not in command("secret", "list", "--json")
    command("secret", "delete", "--yes", name, code=1)


@case
def environments_are_created_renamed_listed_and_deleted():
    command("environment", "create", "life-made")
    assert "life-made" in command("environment", "list", "--json")
    command("environment", "update", "life-made", "--set-name", "life-renamed")
    names = command("environment", "list", "--json")
    assert "life-renamed" in names and "life-made" not in names, names
    command("environment", "delete", "--yes", "life-renamed")
    assert "life-renamed" not in command("environment", "list", "--json")


@case
def an_app_is_stopped_with_its_sandboxes():
    stopped = modal.App.lookup("life-stopped", create_if_missing=True)
    sandbox = create(app=stopped)
    command("app", "stop", "--yes", stopped.app_id)
    sandbox.wait(raise_on_termination=False)
    equal(sandbox.returncode, 137)
    again = modal.App.lookup("life-stopped", create_if_missing=True)
    assert again.app_id != stopped.app_id
    create(app=again).terminate()


run()
