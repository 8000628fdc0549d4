"""What bounds what a build step writes: in its root and in what is mounted for it, together."""

import os

import modal
from harness import app, case, image, raised, run, running, sh

SIZE_MIB = int(os.environ["LIFE_BUILD_DISK_MIB"])
FITS = f"head -c {SIZE_MIB // 2}M /dev/urandom"


def build(*commands):
    return image.dockerfile_commands(*commands).build(app)


def no_room(*commands):
    error = str(raised(modal.exception.ImageBuildError, lambda: build(*commands)))
    assert "No space left on device" in error and f"{SIZE_MIB} MiB (buildDiskMiB)" in error, error


@case
def a_step_that_writes_more_is_told_so_and_nobody_else():
    with running() as neighbour:
        no_room(f"RUN head -c {SIZE_MIB + 8}M /dev/zero > /var/large")
        sh(neighbour, "head -c 8M /dev/urandom > /root/data; sync")


@case
def the_files_of_a_step_are_bounded_in_number():
    no_room("RUN mkdir /many && cd /many && seq 8000 | xargs touch")


@case
def each_step_has_all_of_it_and_what_it_wrote_is_in_the_image():
    built = build(f"RUN {FITS} > /one && sha256sum /one > /sums", f"RUN {FITS} > /two && sha256sum /two >> /sums && ln /two /also && chown 1:2 /two && chmod 4755 /two")
    with running(image=built) as sandbox:
        sh(sandbox, "sha256sum -c /sums; test $(stat -c %h%u%g%a /also) = 2124755")


@case
def what_is_mounted_for_a_step_counts_and_is_gone_with_it():
    cache = "RUN --mount=type=cache,target=/cache --mount=type=tmpfs,target=/scratch"
    no_room(f"{cache} head -c {SIZE_MIB + 8}M /dev/zero > /cache/large")
    no_room(f"{cache} {FITS} > /scratch/one && {FITS} > /cache/two && {FITS} > /three")
    built = build(f"{cache} {FITS} > /cache/one && sha256sum < /cache/one > /sum && stat -c %a /cache /scratch > /modes")
    with running(image=built) as sandbox:
        sh(sandbox, "test ! -e /cache; test -s /sum; grep -q 755 /modes")


run()
