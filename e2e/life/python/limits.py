"""What bounds a sandbox: memory, CPU, output, processes; and the runtimes it is the same under."""

import os
import re
import time

import modal
from harness import case, create, equal, eventually, raised, run, running
from modal._utils.async_utils import synchronizer
from modal_proto import api_pb2

INSTANCE = os.environ["LIFE_INSTANCE"]
RUNTIME = os.environ.get("LIFE_RUNTIME", "runc")
OUTPUT_BOUND_MIB = int(os.environ.get("LIFE_OUTPUT_BOUND_MIB", "0"))
EAT_MEMORY = "data = []\nwhile True: data.append(bytearray(8 << 20))"


@case
def an_exec_over_the_memory_limit_is_killed_and_the_sandbox_goes_on():
    with running(memory=(128, 256)) as sandbox:
        equal(sandbox.exec("python3", "-c", EAT_MEMORY).wait(), 137)
        equal(sandbox.exec("echo", "alive").stdout.read(), "alive\n")


@case
def an_entrypoint_over_the_memory_limit_ends_the_sandbox_and_it_is_told():
    sandbox = create("python3", "-c", EAT_MEMORY, memory=(128, 256))
    sandbox.wait()
    equal(sandbox.returncode, 137)
    equal(_status(sandbox), "GENERIC_STATUS_KERNEL_OOM_KILL")
    assert "memory" in _result(sandbox).exception


def _status(sandbox):
    return api_pb2.GenericResult.GenericStatus.Name(_result(sandbox).status)


def _result(sandbox):
    """What the wire says about the end: the client keeps only the return code."""

    async def ask(inner):
        client = inner._client
        return await client._stub.SandboxWaitV2(api_pb2.SandboxWaitRequest(sandbox_id=inner.object_id, timeout=0))

    inner = synchronizer._translate_in(sandbox)
    return synchronizer.create_blocking(ask)(inner).result


@case
def memory_within_the_limit_is_there():
    with running(memory=(128, 512)) as sandbox:
        equal(sandbox.exec("python3", "-c", "print(len(bytearray(300 << 20)))").stdout.read(), f"{300 << 20}\n")


@case(alone=True)
def a_cpu_limit_holds():
    before = _control_groups()
    with running(cpu=(0.25, 0.25)) as sandbox:
        spinning = sandbox.exec("python3", "-c", "print('now', flush=True)\nwhile True: pass")
        equal(next(iter(spinning.stdout)), "now\n")
        # By the kernel's account, not by clocks inside: gVisor's are estimates. What the kernel grants holds on a loaded machine too:
        # a quarter of the time that passed, and the quota of the periods that had begun.
        usage = _cpu_usage(_control_groups() - before)
        began, used = time.monotonic(), usage()
        time.sleep(4)
        used = usage() - used
        passed = time.monotonic() - began
    assert 0 < used < 0.25 * passed + 0.25, (used, passed)


def _control_groups():
    """Those of the server's sandboxes. No wire names them, but this case runs alone: the new ones are its sandbox's."""
    return {
        path for path, _, _ in os.walk("/sys/fs/cgroup") if INSTANCE in path and os.path.basename(path).startswith("in-")
    }


def _cpu_usage(groups):
    """What tells how many seconds of CPU the host's kernel has counted for a sandbox, under version 1 or 2 of control groups."""
    for file, unit in (("cpuacct.usage", 1e9), ("cpu.stat", 1e6)):
        for group in groups:
            path = os.path.join(group, file)
            if os.path.exists(path):
                return lambda: int(re.search(r"(?:^usage_usec )?(\d+)", open(path).read()).group(1)) / unit
    raise AssertionError(f"no control group counts the CPU of the sandbox: {groups}")


@case
def too_many_processes_are_refused():
    program = """
import os, signal, time
children = []
try:
    while len(children) < 20000:
        pid = os.fork()
        if pid == 0: signal.pause()
        children.append(pid)
except OSError as error:
    print(type(error).__name__, len(children))
for pid in children: os.kill(pid, signal.SIGKILL)
"""
    with running(timeout=24 * 3600) as sandbox:
        found = sandbox.exec("python3", "-c", program).stdout.read().split()
        if RUNTIME == "gvisor" and not found:
            # Each process costs gVisor memory of its own, and that limit comes first: it takes the sandbox, nothing else.
            sandbox.wait()
            equal(_status(sandbox), "GENERIC_STATUS_KERNEL_OOM_KILL")
            return
        name, count = found
        equal(name, "BlockingIOError")
        assert int(count) < 4096, count
        equal(sandbox.exec("echo", "alive").stdout.read(), "alive\n")


@case
def at_the_output_bound_programs_wait_and_nothing_is_lost():
    if OUTPUT_BOUND_MIB == 0:
        return
    program = """
import sys
block = bytes(range(256)) * 4096
for number in range(%d):
    sys.stdout.buffer.write(block)
    sys.stdout.flush()
""" % (3 * OUTPUT_BOUND_MIB)
    with running() as sandbox:
        process = sandbox.exec("python3", "-c", program, text=False)
        block = bytes(range(256)) * 4096
        found = b""
        for chunk in process.stdout:
            found += chunk
            # The last piece did not fit as a whole.
            if len(found) >= (OUTPUT_BOUND_MIB << 20) - (256 << 10):
                break
        equal(found, (block * (OUTPUT_BOUND_MIB + 1))[: len(found)])
        eventually(lambda: any("bound" in str(entry) for entry in sandbox.logs.tail(20)), "the log tells of the bound")
        equal(process.poll(), None)


@case
def a_terminal_interrupts_under_this_runtime():
    script = "trap 'echo interrupted; exit 42' INT; echo ready; while :; do sleep 0.1; done"
    with running() as sandbox:
        process = sandbox.exec("sh", "-c", script, pty=True)
        lines = iter(process.stdout)
        seen = ""
        while "ready" not in seen:
            seen += next(lines)
        process.stdin.write(b"\x03")
        process.stdin.drain()
        assert "interrupted" in "".join(lines)
        equal(process.wait(), 42)
        equal(sandbox.exec("stty", "size", pty=True).stdout.read().strip(), "24 80")


@case
def signals_and_timeouts_are_the_same_under_this_runtime():
    with running() as sandbox:
        equal(sandbox.exec("sh", "-c", "kill -TERM $$").wait(), 143)
        process = sandbox.exec("sh", "-c", "sleep 1001 & sleep 1002", timeout=2)
        process.stdout.read()
        assert process.wait() in (-1, 137)
        count = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c 'sleep 100[12]' || true"
        eventually(lambda: sandbox.exec("sh", "-c", count).stdout.read().strip() == "0", "the group is gone")
    sandbox = create("sh", "-c", "kill -KILL $$; sleep 10")
    sandbox.wait()
    equal(sandbox.returncode, 137)


@case
def idle_and_timeout_are_the_same_under_this_runtime():
    idle, timed = create(idle_timeout=1), create(timeout=2)
    idle.wait()
    equal(idle.returncode, 137)
    raised(modal.exception.SandboxTimeoutError, timed.wait)


@case
def a_large_output_and_input_are_whole_under_this_runtime():
    with running() as sandbox:
        process = sandbox.exec("sh", "-c", "wc -c; head -c 20000000 /dev/zero | tr '\\0' x", text=False)
        process.stdin.write(b"y" * 5_000_000)
        process.stdin.drain()
        process.stdin.write_eof()
        process.stdin.drain()
        found = process.stdout.read()
        assert found.startswith(b"5000000\n") and len(found) == 8 + 20_000_000, len(found)


run()
