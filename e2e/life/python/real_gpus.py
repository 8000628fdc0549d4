"""GPUs of NVIDIA that are there. The program speaks to the driver by itself, so that the image needs nothing but Python."""

import os

import modal
from harness import case, create, equal, raised, run, running, sh

TYPE = os.environ["LIFE_GPU_TYPE"]
COUNT = int(os.environ["LIFE_GPU_COUNT"])

# Arguments: GiB to hold, and a file until whose appearance it computes. A kernel adds a number of each round to many others.
COMPUTE = r"""
import ctypes, os, sys
cuda = ctypes.CDLL("libcuda.so.1")
def call(name, *arguments):
    code = getattr(cuda, name)(*arguments)
    if code != 0:
        sys.exit(f"{name} failed: {code}")
def out(kind=ctypes.c_uint64):
    return kind()
ptx = b'''.version 7.0
.target sm_75
.address_size 64
.visible .entry add(.param .u64 p, .param .u32 n, .param .u32 x) {
  .reg .pred %q; .reg .b32 %r<7>; .reg .b64 %d<4>;
  ld.param.u64 %d1, [p]; ld.param.u32 %r1, [n]; ld.param.u32 %r6, [x];
  mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u32 %r4, %tid.x;
  mad.lo.s32 %r4, %r2, %r3, %r4; setp.ge.u32 %q, %r4, %r1; @%q bra done;
  cvta.to.global.u64 %d1, %d1; mul.wide.u32 %d2, %r4, 4; add.s64 %d3, %d1, %d2;
  ld.global.u32 %r5, [%d3]; add.u32 %r5, %r5, %r4; add.u32 %r5, %r5, %r6; st.global.u32 [%d3], %r5;
done: ret;
}'''
numbers = 1 << 16
device, context, memory, module, kernel = out(ctypes.c_int), out(), out(), out(), out()
call("cuInit", 0)
call("cuDeviceGet", ctypes.byref(device), 0)
call("cuCtxCreate_v2", ctypes.byref(context), 0, device)
call("cuMemAlloc_v2", ctypes.byref(memory), ctypes.c_size_t(int(sys.argv[1]) << 30))
call("cuModuleLoadData", ctypes.byref(module), ptx)
call("cuModuleGetFunction", ctypes.byref(kernel), module, b"add")
print("computes", flush=True)
host, rounds = (ctypes.c_uint32 * numbers)(), 0
while True:
    rounds += 1
    call("cuMemsetD32_v2", memory, 7, ctypes.c_size_t(numbers))
    values = memory, ctypes.c_uint32(numbers), ctypes.c_uint32(rounds)
    pointers = (ctypes.c_void_p * 3)(*[ctypes.addressof(value) for value in values])
    call("cuLaunchKernel", kernel, numbers // 256, 1, 1, 256, 1, 1, 0, None, pointers, None)
    call("cuMemcpyDtoH_v2", host, memory, ctypes.c_size_t(numbers * 4))
    if list(host) != [7 + i + rounds for i in range(numbers)]:
        sys.exit("wrong numbers")
    if len(sys.argv) < 3 or os.path.exists(sys.argv[2]):
        print("right", flush=True)
        break
"""


def compute(sandbox, gib, *until):
    return sandbox.exec("python3", "-c", COMPUTE, str(gib), *until)


def finished(process):
    out, err = process.stdout.read(), process.stderr.read()
    equal((process.wait(), err), (0, ""))
    return out


@case(alone=True)
def a_sandbox_without_a_gpu_has_nothing_of_it():
    with running() as sandbox:
        equal(sh(sandbox, "ls /dev | grep -c nvidia || true"), "0\n")
        process = compute(sandbox, 1)
        assert process.wait() != 0
        assert "libcuda.so.1" in process.stderr.read()


@case(alone=True)
def a_program_computes_on_the_gpu():
    with running(gpu=TYPE) as sandbox:
        equal(finished(compute(sandbox, 1)), "computes\nright\n")
        equal(sh(sandbox, "ls /dev | grep -c '^nvidia[0-9]'"), "1\n")
        assert sh(sandbox, "nvidia-smi -L").startswith("GPU 0: ")


@case(alone=True)
def others_are_refused_meanwhile():
    with running(gpu=f"any:{COUNT}"):
        error = raised(modal.exception.ResourceExhaustedError, lambda: create(gpu=TYPE))
        assert TYPE in str(error), error
    error = raised(modal.exception.InvalidError, lambda: create(gpu=f"any:{COUNT + 1}"))
    assert TYPE in str(error), error


@case(alone=True)
def memory_that_a_killed_program_had_is_free_for_the_next_sandbox():
    with running(gpu=TYPE) as sandbox:
        total = int(sh(sandbox, "nvidia-smi --query-gpu=memory.total --format=csv,noheader,nounits").split()[0])
    most = int(total / 1024 * 0.8)
    for _ in range(2):
        with running(gpu=TYPE) as sandbox:
            equal(next(iter(compute(sandbox, most, "/never").stdout)), "computes\n")


@case(alone=True)
def a_snapshot_beside_a_program_that_computes():
    with running(gpu=TYPE) as sandbox:
        process = compute(sandbox, 1, "/stop")
        lines = iter(process.stdout)
        equal(next(lines), "computes\n")
        sandbox.snapshot_filesystem()
        sh(sandbox, "touch /stop")
        equal((list(lines), process.wait()), (["right\n"], 0))


@case(alone=True)
def before_the_restart():
    sandbox = create(gpu=TYPE, name="computing", timeout=600)
    sandbox.filesystem.write_text(COMPUTE, "/compute.py")
    sandbox.exec("sh", "-c", "python3 /compute.py 1 /stop > /out 2>&1; echo $? >> /out")
    sh(sandbox, "until grep -q computes /out; do sleep 0.1; done")


@case(alone=True)
def after_the_restart():
    sandbox = modal.Sandbox.from_name("life", "computing")
    raised(modal.exception.ResourceExhaustedError, lambda: create(gpu=f"any:{COUNT}"))
    equal(sh(sandbox, "touch /stop; until [ $(wc -l < /out) = 3 ]; do sleep 0.1; done; cat /out"), "computes\nright\n0\n")
    sandbox.terminate()


run()
