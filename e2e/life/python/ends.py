"""How sandboxes start and end: entrypoints, wait, poll, return codes, terminate, timeout, idle timeout."""

import subprocess
import sys
import time

import modal
from harness import case, create, equal, eventually, image, patient, raised, run, running


@case
def without_an_entrypoint_it_stays_until_it_is_ended():
    sandbox = create()
    equal(sandbox.exec("echo", "up").stdout.read(), "up\n")
    equal((sandbox.poll(), sandbox.returncode), (None, None))
    equal(sandbox.terminate(wait=True), 137)
    equal(sandbox.poll(), 137)


@case
def with_an_entrypoint_it_ends_by_itself():
    sandbox = create("sh", "-c", "echo working; exit 7")
    sandbox.wait()
    equal((sandbox.returncode, sandbox.poll()), (7, 7))
    equal(sandbox.stdout.read(), "working\n")
    equal(modal.Sandbox.from_id(sandbox.object_id).poll(), 7)


@case
def success_is_zero():
    sandbox = create("true")
    sandbox.wait()
    equal(sandbox.returncode, 0)


@case
def a_signal_is_128_and_its_number():
    sandbox = create("sh", "-c", "kill -TERM $$; sleep 300")
    sandbox.wait()
    equal(sandbox.returncode, 143)
    with running() as other:
        process = other.exec("sh", "-c", "kill -KILL $$")
        equal((process.wait(), process.returncode, process.poll()), (137, 137, 137))
        process = other.exec("sleep", "300")
        equal(process.poll(), None)
        raised(modal.exception.InvalidError, lambda: process.returncode)


@case
def nothing_of_the_sandbox_outlives_its_entrypoint():
    # The child holds stdout open: a reader must still come to the end.
    sandbox = create("sh", "-c", "sleep 1000 & echo parent is done")
    equal(sandbox.stdout.read(), "parent is done\n")
    sandbox.wait()
    equal(sandbox.returncode, 0)


@case
def the_images_default_command_gives_way_to_the_entrypoint_in_its_workdir():
    sandbox = create("pwd", workdir="/made/for/it")
    equal(sandbox.stdout.read(), "/made/for/it\n")


@case
def an_entrypoint_on_a_terminal_has_one():
    sandbox = create("sh", "-c", "test -t 0 && test -t 1 && test -t 2 && echo terminal; echo err >&2", pty=True)
    equal(sandbox.stdout.read().split(), ["terminal", "err"])
    equal(sandbox.stderr.read(), "")


@case
def terminate_can_be_repeated():
    sandbox = create()
    sandbox.terminate()
    sandbox.terminate()
    equal(sandbox.terminate(wait=True), 137)
    equal(modal.Sandbox.from_id(sandbox.object_id).terminate(wait=True), 137)


@case
def terminate_of_one_that_ended_by_itself_keeps_its_result():
    sandbox = create("sh", "-c", "exit 3")
    sandbox.wait()
    equal(sandbox.terminate(wait=True), 3)
    equal(modal.Sandbox.from_id(sandbox.object_id).poll(), 3)


@case
def waiting_for_a_terminated_one_raises_unless_told_not_to():
    sandbox = create("sleep", "300")
    sandbox.terminate()
    raised(modal.exception.SandboxTerminatedError, sandbox.wait)
    sandbox.wait(raise_on_termination=False)
    equal(sandbox.returncode, 137)


@case
def a_timeout_ends_it_and_is_told():
    sandbox = create("sleep", "300", timeout=2)
    raised(modal.exception.SandboxTimeoutError, sandbox.wait)
    raised(modal.exception.SandboxTimeoutError, lambda: sandbox.wait(raise_on_termination=False))
    equal((sandbox.returncode, sandbox.poll()), (124, 124))
    raised(modal.exception.NotFoundError, lambda: sandbox.exec("true").wait())


@case
def an_exec_that_runs_when_the_sandbox_times_out_was_killed():
    sandbox = create(timeout=3)
    equal(sandbox.exec("sleep", "300").wait(), 137)
    equal(sandbox.poll(), 124)


@case
def an_idle_sandbox_ends():
    sandbox = create(idle_timeout=1)
    sandbox.wait()
    # As a program that is killed: the client knows no error of its own for this.
    equal(sandbox.returncode, 137)


@case
def a_sandbox_is_not_idle_while_an_exec_runs():
    sandbox = create(idle_timeout=2)
    process = sandbox.exec("sh", "-c", "sleep 5; echo undisturbed")
    equal((process.stdout.read(), process.wait()), ("undisturbed\n", 0))
    equal(sandbox.poll(), None)
    sandbox.wait()
    equal(sandbox.returncode, 137)


@case
def a_sandbox_is_not_idle_while_its_input_is_written():
    sandbox = create("cat", idle_timeout=2)
    for _ in range(10):
        sandbox.stdin.write(b"still here\n")
        sandbox.stdin.drain()
        time.sleep(0.5)
    equal(sandbox.poll(), None)
    sandbox.wait()
    equal(sandbox.stdout.read(), "still here\n" * 10)


@case
def an_exec_waits_for_a_sandbox_that_still_starts_and_fails_for_one_that_cannot():
    with running() as sandbox:
        equal(sandbox.exec("echo", "at once").stdout.read(), "at once\n")
    broken = create("/no/such/program")
    broken.wait()
    assert broken.returncode not in (None, 0), broken.returncode
    error = raised(modal.exception.NotFoundError, lambda: broken.exec("true").wait())
    assert "/no/such/program" in str(error), error


@case
def an_app_that_does_not_exist_is_made_only_when_asked():
    raised(modal.exception.NotFoundError, lambda: modal.App.lookup("life-not-there"))
    made = modal.App.lookup("life-made-once", create_if_missing=True)
    equal(modal.App.lookup("life-made-once").app_id, made.app_id)
    equal(modal.App.lookup("life-made-once", create_if_missing=True).app_id, made.app_id)


@case
def another_environment_has_apps_of_its_own():
    modal_command = [sys.executable, "-m", "modal"]
    subprocess.run([*modal_command, "environment", "create", "life-second"], check=True, capture_output=True)
    try:
        here = modal.App.lookup("life-both", create_if_missing=True)
        raised(modal.exception.NotFoundError, lambda: modal.App.lookup("life-both", environment_name="life-second"))
        there = modal.App.lookup("life-both", environment_name="life-second", create_if_missing=True)
        assert here.app_id != there.app_id
        sandbox = modal.Sandbox.create(app=there, image=image, name="only-there")
        found = modal.Sandbox.from_name("life-both", "only-there", environment_name="life-second")
        equal(found.object_id, sandbox.object_id)
        raised(modal.exception.NotFoundError, lambda: modal.Sandbox.from_name("life-both", "only-there"))
        sandbox.terminate(wait=True)
    finally:
        subprocess.run([*modal_command, "environment", "delete", "--yes", "life-second"], check=True, capture_output=True)
    raised(modal.exception.NotFoundError, lambda: modal.App.lookup("x", environment_name="life-second"))


@case
def a_readiness_probe_is_waited_for():
    program = "sleep 1; touch /tmp/ready; exec sleep 300"
    probe = modal.Probe.with_exec("test", "-e", "/tmp/ready", interval_ms=50)
    with running("sh", "-c", program, readiness_probe=probe) as sandbox:
        sandbox.wait_until_ready(timeout=patient(30))
        equal(sandbox.exec("ls", "/tmp/ready").wait(), 0)
    listen = "import socket,time; time.sleep(1); s=socket.create_server(('0.0.0.0', 8123)); time.sleep(300)"
    with running("python3", "-c", listen, readiness_probe=modal.Probe.with_tcp(8123)) as sandbox:
        sandbox.wait_until_ready(timeout=patient(30))
        dial = "import socket; socket.create_connection(('127.0.0.1', 8123)); print('open')"
        equal(sandbox.exec("python3", "-c", dial).stdout.read(), "open\n")


@case
def a_probe_that_never_succeeds_times_out_and_one_that_is_missing_is_told():
    with running("sleep", "300", readiness_probe=modal.Probe.with_exec("false")) as sandbox:
        raised(modal.exception.TimeoutError, lambda: sandbox.wait_until_ready(timeout=2))
    with running() as sandbox:
        raised(modal.exception.ConflictError, lambda: sandbox.wait_until_ready(timeout=2))
    sandbox = create("false", readiness_probe=modal.Probe.with_exec("false"))
    sandbox.wait()
    raised(modal.exception.ConflictError, lambda: sandbox.wait_until_ready(timeout=2))


@case
def the_names_of_what_it_runs_are_in_verbose_logs():
    with running(verbose=True) as sandbox:
        equal(sandbox.exec("python", "-c", "print('hello')").stdout.read(), "hello\n")
        lines = eventually(lambda: [entry for entry in sandbox.logs.tail(10)], "a log entry")
        assert any("Sandbox exec started: python -c print('hello')" in str(line) for line in lines), lines


@case
def without_ports_there_are_no_tunnels():
    with running() as sandbox:
        equal(sandbox.tunnels(), {})


run()
