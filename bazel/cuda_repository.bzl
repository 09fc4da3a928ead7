# SPDX-License-Identifier: Apache-2.0
"""Finds this machine's CUDA toolkit: $CUDA_HOME, else /usr/local/cuda, else nvcc in PATH.

@cuda//:defs.bzl says HAVE_CUDA, CUDA_HOME, CUDA_VERSION and CUDA_ARCHS (flags for nvcc).
@cuda//:headers and @cuda//:cudart_static exist always, and are empty without a toolkit, so that
everything that does not need CUDA builds there. CUPTI is opened at run time: its headers are
among @cuda//:headers where HAVE_CUPTI says so, and there is nothing to link.
"""

_BUILD = """\
package(default_visibility = ["//visibility:public"])

cc_library(
    name = "headers",
    hdrs = glob(
        [
            "include/*.h",
            "include/*.hpp",
            "include/cooperative_groups/**",
            "include/crt/**",
            "cupti_include/*.h",
        ],
        allow_empty = True,
    ),
    includes = [{includes}],
)

cc_library(
    name = "cudart_static",
    srcs = glob(["lib/libcudart_static.a"], allow_empty = True),
    linkopts = [{linkopts}],
    deps = [":headers"],
)
"""

_DEFS = """\
HAVE_CUDA = {have_cuda}
HAVE_CUPTI = {have_cupti}
CUDA_HOME = "{home}"
CUDA_VERSION = "{version}"
CUDA_ARCHS = {archs}
"""

# sm_90 and sm_100 are what the kernels are tuned for; PTX of the lowest serves every later GPU.
_WANTED = [
    ("compute_90", "-gencode=arch=compute_90,code=sm_90"),
    ("compute_100a", "-gencode=arch=compute_100a,code=sm_100a"),
    ("compute_90", "-gencode=arch=compute_90,code=compute_90"),
]

def _home(ctx):
    if ctx.os.environ.get("CUDA_HOME"):
        return ctx.os.environ["CUDA_HOME"]
    if ctx.path("/usr/local/cuda/bin/nvcc").exists:
        return "/usr/local/cuda"
    nvcc = ctx.which("nvcc")
    return str(nvcc.realpath.dirname.dirname) if nvcc else ""

def _usable(ctx, home):
    """Whether this nvcc preprocesses C++20 with g++: a toolkit may be too old for either."""
    nvcc = home + "/bin/nvcc"
    if not home or not ctx.path(nvcc).exists:
        return False
    ctx.file("trial.cu", "#include <cuda_runtime.h>\n#include <span>\n")
    path = "%s/bin:/usr/bin:/bin" % home
    trial = ctx.execute(
        [nvcc, "-std=c++20", "-ccbin=/usr/bin/g++", "-E", "-o", "/dev/null", "trial.cu"],
        environment = {"PATH": path},
    )
    if trial.return_code:
        # buildifier: disable=print
        print("%s is not usable; building without CUDA: %s" % (nvcc, trial.stderr[:400]))
        return False
    return True

def _version(ctx, nvcc):
    said = ctx.execute([nvcc, "--version"]).stdout
    return said.split("release ")[1].split(",")[0] if "release " in said else "unknown"

def _archs(ctx, nvcc):
    # The listing leaves out the variants for one GPU family (100a), so it is asked for 100.
    known = ctx.execute([nvcc, "--list-gpu-arch"]).stdout.split("\n")
    return [flag for arch, flag in _WANTED if arch.rstrip("a") in known]

def _absent(ctx):
    ctx.file("BUILD", _BUILD.format(includes = "", linkopts = ""))
    ctx.file("defs.bzl", _DEFS.format(
        have_cuda = False,
        have_cupti = False,
        home = "",
        version = "",
        archs = [],
    ))

def _cuda_repository_impl(ctx):
    home = _home(ctx)
    if not _usable(ctx, home):
        _absent(ctx)
        return
    ctx.symlink(home + "/include", "include")
    lib = "/lib64" if ctx.path(home + "/lib64").exists else "/lib"
    ctx.symlink(home + lib, "lib")
    includes = ["include"]
    have_cupti = ctx.path(home + "/include/cupti.h").exists
    extras = home + "/extras/CUPTI/include"
    if not have_cupti and ctx.path(extras + "/cupti.h").exists:
        ctx.symlink(extras, "cupti_include")
        includes.append("cupti_include")
        have_cupti = True
    ctx.file("BUILD", _BUILD.format(
        includes = ", ".join(["\"%s\"" % i for i in includes]),
        linkopts = "\"-ldl\", \"-lpthread\", \"-lrt\"",
    ))
    ctx.file("defs.bzl", _DEFS.format(
        have_cuda = True,
        have_cupti = have_cupti,
        home = home,
        version = _version(ctx, home + "/bin/nvcc"),
        archs = _archs(ctx, home + "/bin/nvcc"),
    ))

cuda_repository = repository_rule(
    implementation = _cuda_repository_impl,
    environ = [
        "CUDA_HOME",
        "PATH",
    ],
    configure = True,
    local = True,
)
