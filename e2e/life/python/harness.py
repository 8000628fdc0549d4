"""What the client programs of this folder share: their cases, an app, an image, and the report that `support/cases.ts` reads.

A program declares functions with `@case` and ends with `run()`. Cases run four at a time, since they mostly wait; those that measure run
alone, before the others. Arguments choose cases by name. Written for every Python client from 1.0.5 on.
"""

import concurrent.futures
import contextlib
import json
import os
import sys
import threading
import time
import traceback

import modal

_cases = []
_lock = threading.Lock()
_shared = None
_report_lock = threading.Lock()

app = modal.App.lookup("life", create_if_missing=True)
# One FROM and nothing else: no test of this folder needs more.
image = modal.Image.from_registry("python:3.11-slim")


def case(function=None, *, alone=False):
    """Declares a case. `alone`: nothing else runs meanwhile."""

    def declare(declared):
        _cases.append((declared, alone))
        return declared

    return declare(function) if function else declare


def patient(seconds):
    """A deadline as long as this machine needs, as `support/slowness.ts` says."""
    return int(seconds * float(os.environ.get("SKERRY_TEST_SLOWNESS", "1")))


# Seconds: the client's own default.
LIFETIME = patient(300)


def create(*args, **options):
    return modal.Sandbox.create(*args, **{"app": app, "image": image, "timeout": LIFETIME, **options})


@contextlib.contextmanager
def running(*args, **options):
    """A sandbox of its own for a case."""
    sandbox = create(*args, **options)
    try:
        yield sandbox
    finally:
        sandbox.terminate()


def shared():
    """One sandbox for all cases that leave nothing behind in it."""
    global _shared
    with _lock:
        if _shared is None:
            _shared = create(timeout=2 * LIFETIME)
        return _shared


def output(*args, **options):
    """Runs a program in the shared sandbox: exit status, stdout, stderr."""
    process = shared().exec(*args, **options)
    out, err = process.stdout.read(), process.stderr.read()
    return process.wait(), out, err


def sh(sandbox, script):
    """What a shell prints inside; it must succeed."""
    return _printed(sandbox, "sh", "-ec", script)


def python(sandbox, program, *arguments, **options):
    """The same for a program in Python."""
    return _printed(sandbox, "python3", "-c", program, *arguments, **options)


def _printed(sandbox, *command, **options):
    process = sandbox.exec(*command, **options)
    out, err, code = process.stdout.read(), process.stderr.read(), process.wait()
    assert code == 0, f"{command!r} ended with {code}: {out}{err}"
    return out


def raised(error, call):
    """The error that `call` raises, which must be of exactly this class."""
    try:
        value = call()
    except Exception as exception:
        assert type(exception) is error, f"{type(exception).__name__} instead of {error.__name__}: {exception}"
        return exception
    raise AssertionError(f"no {error.__name__}, but {value!r}")


def eventually(condition, what, seconds=20):
    """Waits until `condition` gives something true, and returns that."""
    deadline = time.monotonic() + patient(seconds)
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


def equal(found, expected):
    assert found == expected, f"found {str(found)[:500]!r}, expected {str(expected)[:500]!r}"


def _report(message):
    with _report_lock:
        sys.stdout.write("@" + json.dumps(message) + "\n")
        sys.stdout.flush()


def _run_case(function):
    started = time.monotonic()
    error = None
    try:
        function()
    except BaseException:
        error = traceback.format_exc()
    _report({"case": function.__name__, "error": error, "seconds": round(time.monotonic() - started, 2)})


def run():
    chosen = [(function, alone) for function, alone in _cases if not sys.argv[1:] or function.__name__ in sys.argv[1:]]
    _report({"plan": [function.__name__ for function, _ in chosen]})
    for function, alone in chosen:
        if alone:
            _run_case(function)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for function, alone in chosen:
            if not alone:
                pool.submit(_run_case, function)
    if _shared is not None:
        _shared.terminate()
    sys.stdout.flush()
    # Streams that a case left unread must not hold up the end of the program.
    os._exit(0)
