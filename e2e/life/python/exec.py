"""exec: arguments, timeout, workdir, environment, secrets, terminals, text and bytes, stream types, many at once."""

import asyncio
import concurrent.futures
import json
import subprocess
import sys

import modal
from harness import app, case, equal, eventually, image, output, patient, raised, run, running, shared
from modal.stream_type import StreamType


@case
def arguments_arrive_as_they_were_given():
    given = ["", " ", "a b", "'\"$HOME`\\", "line\nbreak", "\u00fc\u4e16\U0001f600", "-n", "*"]
    code, out, err = output("python3", "-c", "import json,sys; print(json.dumps(sys.argv[1:]))", *given)
    equal(json.loads(out), given)
    equal((code, err), (0, ""))


@case
def a_timeout_kills_the_whole_process_group():
    sandbox = shared()
    # A child in the background and one that left the session: both hold stdout.
    script = "sleep 1001 & setsid sleep 1002 & echo $$; sleep 1003"
    process = sandbox.exec("sh", "-c", script, timeout=2)
    pid = process.stdout.read().strip()
    equal(process.wait(), -1)
    assert pid.isdigit(), pid
    eventually(lambda: _sleepers(sandbox) == [], "the processes of the group are gone")


def _sleepers(sandbox):
    script = """
import glob
for path in glob.glob("/proc/[0-9]*/cmdline"):
    try: words = open(path).read().split("\\0")
    except OSError: continue
    if words[:1] == ["sleep"] and words[1] in ("1001", "1002", "1003"): print(words)
"""
    return sandbox.exec("python3", "-c", script).stdout.read().splitlines()


@case
def a_process_that_ends_in_time_is_not_touched_by_its_timeout():
    process = shared().exec("sh", "-c", "echo quick; exit 5", timeout=patient(60))
    equal(process.stdout.read(), "quick\n")
    equal(process.wait(), 5)
    equal(process.poll(), 5)


@case
def workdir_is_where_the_program_runs():
    equal(output("pwd", workdir="/var/log"), (0, "/var/log\n", ""))


@case
def a_process_that_could_not_be_started_is_known_by_its_exit_code():
    equal(output("sh", "-c", "no-such-program")[0], 127)
    equal(output("no-such-program")[0], 128)


@case
def environment_of_exec_over_secrets_over_the_sandbox():
    secret = modal.Secret.from_dict({"A": "exec secret", "B": "exec secret"})
    with running(env={"A": "sandbox", "B": "sandbox", "C": "sandbox"}) as sandbox:
        process = sandbox.exec("sh", "-c", "echo $A,$B,$C", secrets=[secret], env={"A": "exec env"})
        equal(process.stdout.read(), "exec env,exec secret,sandbox\n")
        equal(sandbox.exec("sh", "-c", "echo $A,$B,$C").stdout.read(), "sandbox,sandbox,sandbox\n")


@case
def a_terminal_has_a_size_and_carries_both_streams():
    process = shared().exec("sh", "-c", "test -t 0 && test -t 1 && test -t 2 && stty size; echo err >&2; echo $TERM", pty=True)
    out = process.stdout.read()
    equal(process.stderr.read(), "")
    equal(process.wait(), 0)
    lines = out.split("\r\n")
    # The client of a program without a terminal sends no size.
    equal(lines[0], "24 80")
    equal(lines[1], "err")
    assert lines[2], out


@case
def ctrl_c_on_a_terminal_interrupts_the_foreground_program():
    script = "trap 'echo interrupted; exit 42' INT; echo ready; while :; do sleep 0.1; done"
    process = shared().exec("sh", "-c", script, pty=True)
    lines = iter(process.stdout)
    seen = ""
    while "ready" not in seen:
        seen += next(lines)
    process.stdin.write(b"\x03")
    process.stdin.drain()
    assert "interrupted" in "".join(lines)
    equal(process.wait(), 42)


@case
def bytes_come_as_bytes_and_text_as_text():
    data = shared().exec("printf", r"\303\274\377", text=False).stdout.read()
    equal(data, b"\xc3\xbc\xff")
    equal(shared().exec("printf", r"\303\274", text=True).stdout.read(), "\u00fc")


@case
def line_buffered_output_comes_in_lines():
    process = shared().exec("printf", r"one\ntwo\n\nlast", bufsize=1)
    equal(list(process.stdout), ["one\n", "two\n", "\n", "last"])


@case
def devnull_throws_output_away_and_the_program_goes_on():
    # More than a pipe holds: nobody reads it.
    script = "head -c 4000000 /dev/zero; head -c 4000000 /dev/zero >&2; exit 6"
    process = shared().exec("sh", "-c", script, stdout=StreamType.DEVNULL, stderr=StreamType.DEVNULL)
    equal(process.wait(), 6)


@case
def stdout_type_prints_in_the_program_of_the_caller():
    program = f"""
import modal
from modal.stream_type import StreamType
sandbox = modal.Sandbox.from_id({shared().object_id!r})
process = sandbox.exec("sh", "-c", "echo to the caller; echo and this >&2", stdout=StreamType.STDOUT, stderr=StreamType.STDOUT)
assert process.wait() == 0
input()
"""
    # The client prints in a thread that its program's end does not wait for: the program stays until both lines are here. It does not flush them.
    argv = [sys.executable, "-u", "-c", program]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as caller:
        equal(sorted(caller.stdout.readline() for _ in range(2)), ["and this\n", "to the caller\n"])
        equal(caller.communicate("\n", timeout=patient(60))[0], "")
    equal(caller.returncode, 0)


@case
def a_hundred_at_once_in_one_sandbox():
    sandbox = shared()

    def one(number):
        process = sandbox.exec("sh", "-c", f"read word; echo out $word {number}; echo err {number} >&2; exit {number}")
        process.stdin.write(b"in\n")
        process.stdin.write_eof()
        process.stdin.drain()
        return process.stdout.read(), process.stderr.read(), process.wait()

    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        for number, result in enumerate(pool.map(one, range(100))):
            equal(result, (f"out in {number}\n", f"err {number}\n", number))


@case
def the_asynchronous_client_does_the_same():
    async def main():
        sandbox = await modal.Sandbox.create.aio(app=app, image=image)
        process = await sandbox.exec.aio("sh", "-c", "read line; echo got $line; exit 3")
        process.stdin.write(b"it\n")
        process.stdin.write_eof()
        await process.stdin.drain.aio()
        lines = [line async for line in process.stdout]
        code = await process.wait.aio()
        equal((lines, code), (["got it\n"], 3))
        await sandbox.terminate.aio()
        await sandbox.wait.aio(raise_on_termination=False)
        equal(sandbox.returncode, 137)

    asyncio.run(main())


@case
def unreasonable_arguments_are_refused_by_name():
    with running() as sandbox:
        error = raised(modal.exception.InvalidError, lambda: sandbox.exec("echo", "nul\0byte").wait())
        assert "NUL" in str(error) or "null" in str(error).lower(), error
        error = raised(modal.exception.InvalidError, lambda: sandbox.exec("true", env={"1A": "x"}).wait())
        assert "1A" in str(error), error
        equal(sandbox.exec("echo", "still here").stdout.read(), "still here\n")


@case
def a_handle_made_from_an_id_executes_and_a_detached_one_does_not():
    # The same sandbox by its id: a connection of its own.
    again = modal.Sandbox.from_id(shared().object_id)
    equal(again.exec("echo", "hello").stdout.read(), "hello\n")
    again.detach()
    raised(modal.exception.ClientClosed, lambda: again.exec("true"))
    equal(output("echo", "on"), (0, "on\n", ""))


run()
