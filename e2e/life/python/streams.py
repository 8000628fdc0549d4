"""Output and input: apart, live, by line, as bytes, long lines, read twice, read late; stdin to its end and beyond."""

import concurrent.futures
import hashlib
import os

import modal
from harness import case, create, equal, output, raised, run, running, shared


@case
def stdout_and_stderr_are_apart():
    script = "for i in 1 2 3; do echo out $i; echo err $i >&2; done; exit 9"
    equal(output("sh", "-c", script), (9, "out 1\nout 2\nout 3\n", "err 1\nerr 2\nerr 3\n"))


@case
def a_line_comes_while_the_program_still_runs():
    # The program goes on only after its line was answered, so a line that is held back would hang the test.
    process = shared().exec("sh", "-c", "for i in 1 2 3; do echo line $i; read answer; echo $answer >&2; done", bufsize=1)
    for number, line in enumerate(process.stdout, 1):
        equal(line, f"line {number}\n")
        process.stdin.write(f"answer {number}\n")
        process.stdin.drain()
    equal(process.stderr.read(), "answer 1\nanswer 2\nanswer 3\n")


@case
def entrypoint_output_comes_by_line_and_is_read_again():
    with running("sh", "-c", "for i in 1 2 3; do echo line $i; read answer; done; echo done >&2") as sandbox:
        for number, line in enumerate(sandbox.stdout, 1):
            equal(line, f"line {number}\n")
            sandbox.stdin.write(f"answer {number}\n")
            sandbox.stdin.drain()
        sandbox.wait()
        equal(sandbox.stderr.read(), "done\n")
        # The client's readers need their sandbox's handle to live until they are connected.
        again = modal.Sandbox.from_id(sandbox.object_id)
        equal(again.stdout.read(), "line 1\nline 2\nline 3\n")


@case
def bytes_that_are_not_utf8_arrive_unchanged():
    program = "import sys; sys.stdout.buffer.write(bytes(range(256)) * 300)"
    equal(shared().exec("python3", "-c", program, text=False).stdout.read(), bytes(range(256)) * 300)
    # The client decodes strictly: as text this is its error, not a replacement character.
    raised(UnicodeDecodeError, shared().exec("python3", "-c", program).stdout.read)


@case
def characters_of_several_bytes_are_never_split():
    process = shared().exec("python3", "-c", "print('\U0001f600' * 200_000)")
    equal("".join(process.stdout), "\U0001f600" * 200_000 + "\n")


@case
def a_line_of_ten_megabytes_is_one_line():
    process = shared().exec("python3", "-c", "print('x' * 10_000_000); print('next')", bufsize=1)
    lines = list(process.stdout)
    equal([len(line) for line in lines], [10_000_001, 5])


@case
def two_readers_of_one_output_get_all_of_it():
    script = "for i in $(seq 200); do echo $i; done; read go; for i in $(seq 200); do echo again $i; done"
    expected = "".join(f"{n}\n" for n in range(1, 201)) + "".join(f"again {n}\n" for n in range(1, 201))
    with running("sh", "-c", script) as sandbox, concurrent.futures.ThreadPoolExecutor(2) as pool:
        handles = [modal.Sandbox.from_id(sandbox.object_id) for _ in range(2)]
        readers = [pool.submit(handle.stdout.read) for handle in handles]
        sandbox.stdin.write("go\n")
        sandbox.stdin.drain()
        for reader in readers:
            equal(reader.result(60), expected)


@case
def output_is_read_after_the_process_and_after_the_sandbox_ended():
    sandbox = create("sh", "-c", "echo from entrypoint; echo its stderr >&2; exec sleep 300")
    small = sandbox.exec("sh", "-c", "echo small; echo its stderr >&2")
    large = sandbox.exec("python3", "-c", "print('x' * 3_000_000)")
    equal((small.wait(), large.wait()), (0, 0))
    equal(small.stdout.read(), "small\n")
    sandbox.terminate(wait=True)
    equal(small.stderr.read(), "its stderr\n")
    equal(len(large.stdout.read()), 3_000_001)
    equal(sandbox.stdout.read(), "from entrypoint\n")
    again = modal.Sandbox.from_id(sandbox.object_id)
    equal(again.stderr.read(), "its stderr\n")


@case
def output_of_a_process_its_sandbox_was_ended_under_stays():
    sandbox = create()
    process = sandbox.exec("sh", "-c", "echo before; exec sleep 300")
    equal(next(iter(process.stdout)), "before\n")
    sandbox.terminate(wait=True)
    # It was killed with its sandbox.
    equal(process.wait(), 137)


@case
def stdin_is_written_drained_and_closed():
    process = shared().exec("cat", text=False)
    process.stdin.write(b"one ")
    process.stdin.drain()
    process.stdin.write(bytearray(b"two "))
    process.stdin.write(memoryview(b"three"))
    process.stdin.drain()
    process.stdin.write_eof()
    process.stdin.drain()
    equal(process.stdout.read(), b"one two three")
    equal(process.wait(), 0)


@case
def empty_stdin_that_is_closed_is_the_end_of_file():
    process = shared().exec("wc", "-c")
    process.stdin.write_eof()
    process.stdin.drain()
    equal(process.stdout.read().strip(), "0")


@case
def a_hundred_megabytes_go_through_cat():
    block = os.urandom(1 << 20) * 10
    process = shared().exec("cat", text=False)

    def write():
        for _ in range(10):
            process.stdin.write(block)
            process.stdin.drain()
        process.stdin.write_eof()
        process.stdin.drain()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        found, length = hashlib.sha256(), 0
        for chunk in process.stdout:
            found.update(chunk)
            length += len(chunk)
        writing.result()
    equal(length, 10 * len(block))
    equal(found.hexdigest(), hashlib.sha256(block * 10).hexdigest())
    equal(process.wait(), 0)


@case
def input_for_a_process_that_ended_is_an_error():
    process = shared().exec("true")
    equal(process.wait(), 0)
    process.stdin.write(b"nobody reads this")
    error = raised(modal.exception.ConflictError, process.stdin.drain)
    assert "ended" in str(error), error


@case
def input_for_an_entrypoint_that_closed_it_is_an_error():
    with running("sh", "-c", "exec 0<&-; echo closed; exec sleep 300") as sandbox:
        equal(next(iter(sandbox.stdout)), "closed\n")

        def write():
            # The agent sees that nobody reads only when it writes.
            for _ in range(100):
                sandbox.stdin.write(b"x" * 10_000)
                sandbox.stdin.drain()

        raised(ValueError, write)


@case(alone=True)
def a_gigabyte_read_slowly_is_whole_and_the_servers_memory_stays_flat():
    blocks, size = 1024, 1 << 20
    program = f"""
import sys
for number in range({blocks}):
    sys.stdout.buffer.write(number.to_bytes(8, "big") * {size // 8})
"""
    server = int(os.environ["LIFE_SERVER_PID"])
    before = _memory_mib(server)
    peak = before
    with running() as sandbox:
        process = sandbox.exec("python3", "-c", program, text=False)
        reader = iter(process.stdout)
        pending = next(reader)
        # The program is done long before its reader: what it wrote waits on the server's disk.
        equal(process.wait(), 0)
        number = 0
        while True:
            while len(pending) >= size:
                assert pending[:size] == number.to_bytes(8, "big") * (size // 8), f"block {number} differs"
                pending = pending[size:]
                number += 1
                if number % 32 == 0:
                    peak = max(peak, _memory_mib(server))
            chunk = next(reader, None)
            if chunk is None:
                break
            pending += chunk
        equal((number, len(pending)), (blocks, 0))
    assert peak - before < 200, f"the server grew from {before} to {peak} MiB"


def _memory_mib(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmRSS:"))


run()
