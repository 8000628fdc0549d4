"""Dockerfiles with what BuildKit added, through `Image.from_dockerfile` and `dockerfile_commands`."""

import contextlib
import pathlib
import subprocess
import sys
import tempfile

import modal
from harness import app, case, create, equal, image, run, running


@contextlib.contextmanager
def built_from(text, files, **options):
    """An image of a Dockerfile with its context, which is there until the end of the block."""
    with tempfile.TemporaryDirectory(prefix="context-") as name:
        directory = pathlib.Path(name)
        for file, content in files.items():
            (directory / file).parent.mkdir(parents=True, exist_ok=True)
            (directory / file).write_text(content)
        (directory / "Dockerfile").write_text(text)
        yield modal.Image.from_dockerfile(directory / "Dockerfile", context_dir=directory, **options)


def shell(sandbox, command):
    process = sandbox.exec("sh", "-c", command)
    text = process.stdout.read()
    equal((process.wait(), process.stderr.read()), (0, ""))
    return text


@case
def bind_mounts_show_the_context_a_stage_and_an_image_and_leave_nothing():
    # The client sends the files that a COPY names, so one stage names them.
    text = """
FROM python:3.11-slim AS sent
COPY src/ requirements.txt /sent/
FROM python:3.11-slim AS tools
RUN mkdir /tools && printf '#!/bin/sh\\necho from the stage' > /tools/say && chmod 755 /tools/say
FROM python:3.11-slim
WORKDIR /work
RUN --mount=type=bind,source=requirements.txt,target=requirements.txt cat requirements.txt > seen && ! touch requirements.txt
RUN --mount=type=bind,source=src,target=/src,rw cat /src/a.py >> seen && echo lost > /src/a.py && rm /src/deep/b.py
RUN --mount=type=bind,from=tools,source=/tools/say,target=/usr/local/bin/say say >> seen
RUN --mount=type=bind,from=python:3.11-slim,target=/other ls /other/etc/os-release >> seen
RUN --mount=type=bind,source=src,target=/src cat /src/a.py /src/deep/b.py >> seen
RUN --mount=type=cache,target=/root/.cache/x,sharing=locked --mount=type=tmpfs,target=/fast touch /root/.cache/x/y /fast/z
RUN --mount=type=secret,id=TOKEN,env=COPIED test "$(cat /run/secrets/TOKEN 2>/dev/null)$COPIED" = s3cret-value
"""
    files = {"requirements.txt": "six\n", "src/a.py": "a\n", "src/deep/b.py": "b\n"}
    secret = modal.Secret.from_dict({"TOKEN": "s3cret-value"})
    with built_from(text, files, secrets=[secret]) as built, running(image=built) as sandbox:
        equal(shell(sandbox, "cat /work/seen"), "six\na\nfrom the stage\n/other/etc/os-release\na\nb\n")
        left = "ls -d /src /other /fast /root/.cache/x /usr/local/bin/say /work/requirements.txt /run/secrets 2>/dev/null || true"
        equal(shell(sandbox, left), "")


@case
def a_mount_of_a_file_that_was_not_sent_is_a_clear_build_error():
    text = "FROM python:3.11-slim\nRUN --mount=type=bind,source=nothere,target=/x true\n"
    try:
        with built_from(text, {"other": ""}) as built:
            create(image=built)
    except modal.exception.Error as error:
        words = str(error)
    assert "nothere" in words and "COPY" in words, words


@case
def the_rest_of_buildkit():
    text = """# syntax=docker/dockerfile:1
ARG BASE=python:3.11-slim
FROM ${BASE} AS final
ARG GREETING="hello  world"
ENV A=${GREETING:-none} B=${UNSET:-fallback} C=${GREETING:+set}
COPY --chmod=0750 --chown=1000:1000 run.sh /opt/
COPY --link --chmod=644 run.sh /opt/plain.sh
COPY <<EOF /opt/heredoc
$A and \\$A
EOF
COPY <<"EOF" /opt/raw
$A
EOF
RUN <<EOF
set -e
echo "$A" > /opt/run-heredoc
EOF
RUN <<EOF cat > /opt/piped
one
two
EOF
RUN python3 <<EOF
open("/opt/by-python", "w").write("python")
EOF
"""
    arguments = {"GREETING": "hi you"}
    with built_from(text, {"run.sh": "#!/bin/sh\n"}, build_args=arguments) as built, running(image=built) as sandbox:
        equal(shell(sandbox, "echo \"$A|$B|$C\""), "hi you|fallback|set\n")
        equal(shell(sandbox, "stat -c '%a %u:%g' /opt/run.sh /opt/plain.sh"), "750 1000:1000\n644 0:0\n")
        equal(shell(sandbox, "cat /opt/heredoc /opt/raw /opt/run-heredoc /opt/piped /opt/by-python"),
              "hi you and $A\n$A\nhi you\none\ntwo\npython")


@case
def terminate_tells_the_program_with_the_stop_signal_of_its_image():
    program = 'trap "echo tidy; exit" QUIT; echo up; while :; do sleep 0.1; done'
    with running("sh", "-c", program, image=image.dockerfile_commands("STOPSIGNAL SIGQUIT")) as sandbox:
        lines = iter(sandbox.stdout)
        equal(next(lines), "up\n")
        sandbox.terminate()
        equal(list(lines), ["tidy\n"])
        equal(sandbox.poll(), 137)


@case
def what_builds_said_is_read_from_the_image():
    secret = modal.Secret.from_dict({"TOKEN": "s3cret-value"})
    first = image.run_commands("echo from the first $TOKEN", secrets=[secret])
    second = first.run_commands("echo from the second; echo to stderr >&2").build(app)
    own = [(entry.source, entry.message) for entry in second.logs.fetch()]
    assert ("stdout", "from the second\n") in own and ("stderr", "to stderr\n") in own, own
    whole = "".join(entry.message for entry in second.logs.fetch(layers=None))
    assert 0 < whole.index("\nfrom the first ") < whole.index("\nfrom the second\n"), whole
    assert "s3cret-value" not in whole
    equal([entry.message for entry in second.logs.tail(1)], [f"Successfully built {second.object_id}\n"])
    done = subprocess.run([sys.executable, "-m", "modal", "image", "logs", second.object_id], capture_output=True, text=True)
    assert "\nfrom the second\n" in done.stdout and "first" not in done.stdout, (done.stdout, done.stderr)
    failing = image.run_commands("echo why it fails; exit 3")
    try:
        failing.build(app)
    except modal.exception.Error:
        said = "".join(entry.message for entry in failing.logs.tail())
    assert "why it fails\n" in said and "The build failed" in said, said
    with running() as sandbox:
        equal(list(sandbox.snapshot_filesystem().logs.fetch(layers=None)), [])


run()
