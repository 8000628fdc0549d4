"""Files, volumes and snapshots through the official Python client, timed here, where a user would feel them. Commands are JSON lines, answers milliseconds."""

import json
import os
import sys
import time

import modal

app = modal.App.lookup("bench-storage", create_if_missing=True)
image = modal.Image.from_registry("debian:bookworm-slim")
sandboxes = {}


def timed(work):
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def shell(sandbox, script):
    process = sandbox.exec("sh", "-ec", script)
    errors = process.stderr.read()
    assert process.wait() == 0, errors


def create(name, volume=None):
    volumes = {"/volume": modal.Volume.from_name(volume, create_if_missing=True)} if volume else {}
    sandboxes[name] = modal.Sandbox.create("sleep", "infinity", app=app, image=image, timeout=24 * 3600, volumes=volumes, memory=4096)
    sandboxes[name].exec("true").wait()
    return 0


def write(name, local, remote):
    return timed(lambda: sandboxes[name].filesystem.copy_from_local(local, remote))


def read(name, remote, local):
    took = timed(lambda: sandboxes[name].filesystem.copy_to_local(remote, local))
    os.unlink(local)
    return took


def execute(name, script):
    return timed(lambda: shell(sandboxes[name], script))


def upload(volume, directory):
    made = modal.Volume.from_name(volume, create_if_missing=True)
    made.hydrate()

    def batch():
        with made.batch_upload(force=True) as files:
            files.put_directory(directory, "/files")

    took = timed(batch)
    modal.Volume.objects.delete(volume)
    return took


def snapshot(name):
    return timed(lambda: sandboxes[name].snapshot_filesystem(timeout=600))


# Looks at the clock all the time, and tells the longest time in milliseconds between two looks. A Debian has perl, and without a module for exact times: the call is made by its number.
WATCH = """
my $clock_gettime = `uname -m` =~ /x86_64/ ? 228 : 113;
sub now { my $time = "\\0" x 16; syscall($clock_gettime, 1, $time); my ($s, $ns) = unpack "q q", $time; return $s * 1000 + $ns / 1e6 }
$| = 1;
print "watching\\n";
my ($last, $longest) = (now(), 0);
until (-e "/over") {
  select undef, undef, undef, 0.0005;
  my $now = now();
  $longest = $now - $last if $now - $last > $longest;
  $last = $now;
}
print $longest;
"""


def standstill(name, taken=True):
    """How long a program stands still at most while a snapshot is taken, or for two seconds in which none is."""
    sandbox = sandboxes[name]
    watch = sandbox.exec("perl", "-e", WATCH)
    lines = iter(watch.stdout)
    assert next(lines, None) == "watching\n", watch.stderr.read()
    if taken:
        sandbox.snapshot_filesystem(timeout=600)
    else:
        time.sleep(2)
    shell(sandbox, "touch /over")
    longest = float(next(lines))
    shell(sandbox, "rm /over")
    return longest


def end(name):
    sandboxes.pop(name).terminate()
    return 0


commands = {f.__name__: f for f in (create, write, read, execute, upload, snapshot, standstill, end)}
print(json.dumps({"event": "ready"}), flush=True)
for line in sys.stdin:
    command, *arguments = json.loads(line)
    print(json.dumps({"event": "done", "ms": commands[command](*arguments)}), flush=True)
