# SPDX-License-Identifier: Apache-2.0
"""cuda_library: .cu files compiled with the installed nvcc, to be used in deps of cc_* rules."""

load("@bazel_tools//tools/cpp:toolchain_utils.bzl", "find_cpp_toolchain")
load("@cuda//:defs.bzl", "CUDA_ARCHS", "CUDA_HOME", "HAVE_CUDA", "HAVE_CUPTI")

def if_cuda(with_cuda, without = []):
    """`with_cuda` where a toolkit was found, else `without`: for srcs, deps, lists of targets."""
    return with_cuda if HAVE_CUDA else without

def if_cupti(with_cupti, without = []):
    """`with_cupti` where the toolkit has CUPTI's headers, else `without`."""
    return with_cupti if HAVE_CUPTI else without

def _flags(ctx, context):
    debug = ctx.var["COMPILATION_MODE"] == "dbg"
    flags = CUDA_ARCHS + [
        "-std=c++20",
        # nvcc with clang 14 as its host compiler fails on <ranges>.
        "-ccbin=/usr/bin/g++",
        "-Xcompiler=-fPIC,-Wall,-Wextra,-ffp-contract=off",
        # CPU and GPU must agree to the bit: fused multiply-adds only where they are written.
        "-fmad=false",
        "-Werror=all-warnings",
    ] + (["-G", "-O0"] if debug else ["-lineinfo", "-O3"]) + ctx.attr.copts
    if ctx.var["COMPILATION_MODE"] == "opt":
        flags.append("-DNDEBUG")
    flags += ["-D" + d for d in context.defines.to_list() + ctx.attr.defines]
    for d in ["."] + context.includes.to_list() + context.quote_includes.to_list():
        flags.append("-I" + d)
    for d in context.system_includes.to_list():
        flags += ["-isystem", d]
    return flags

def _compile(ctx, context):
    objects = []
    flags = _flags(ctx, context)
    for src in ctx.files.srcs:
        obj = ctx.actions.declare_file("_objs/%s/%s.o" % (ctx.label.name, src.basename))
        ctx.actions.run(
            # By path, and not an input: after a toolkit's upgrade in place, `bazel clean`.
            executable = CUDA_HOME + "/bin/nvcc",
            arguments = flags + ["-c", src.path, "-o", obj.path],
            inputs = depset([src] + ctx.files.hdrs, transitive = [context.headers]),
            outputs = [obj],
            mnemonic = "CudaCompile",
            progress_message = "Compiling %s with nvcc" % src.short_path,
            env = {"PATH": CUDA_HOME + "/bin:/usr/bin:/bin", "TMPDIR": "/tmp"},
        )
        objects.append(obj)
    return objects

def _cuda_objects_impl(ctx):
    toolchain = find_cpp_toolchain(ctx)
    deps = [d[CcInfo] for d in ctx.attr.deps]
    merged = cc_common.merge_cc_infos(cc_infos = deps)
    objects = depset(_compile(ctx, merged.compilation_context))
    linking, _ = cc_common.create_linking_context_from_compilation_outputs(
        actions = ctx.actions,
        name = ctx.label.name,
        feature_configuration = cc_common.configure_features(
            ctx = ctx,
            cc_toolchain = toolchain,
            requested_features = ctx.features,
            unsupported_features = ctx.disabled_features,
        ),
        cc_toolchain = toolchain,
        alwayslink = ctx.attr.alwayslink,
        compilation_outputs = cc_common.create_compilation_outputs(
            objects = objects,
            pic_objects = objects,
        ),
        linking_contexts = [merged.linking_context],
        disallow_dynamic_library = True,
    )
    own = CcInfo(
        compilation_context = cc_common.create_compilation_context(
            headers = depset(ctx.files.hdrs),
        ),
        linking_context = linking,
    )
    return [
        DefaultInfo(files = objects),
        cc_common.merge_cc_infos(direct_cc_infos = [own], cc_infos = deps),
    ]

_cuda_objects = rule(
    implementation = _cuda_objects_impl,
    attrs = {
        "srcs": attr.label_list(allow_files = [".cu"]),
        "hdrs": attr.label_list(allow_files = [".h", ".cuh"]),
        "deps": attr.label_list(providers = [CcInfo]),
        "copts": attr.string_list(),
        "defines": attr.string_list(),
        "alwayslink": attr.bool(),
        "_cc_toolchain": attr.label(
            default = Label("@bazel_tools//tools/cpp:current_cc_toolchain"),
        ),
    },
    fragments = ["cpp"],
    toolchains = ["@bazel_tools//tools/cpp:toolchain_type"],
)

def cuda_library(
        name,
        srcs,
        hdrs = [],
        without_cuda = [],
        deps = [],
        copts = [],
        defines = [],
        tags = [],
        testonly = False,
        alwayslink = False,
        visibility = None):
    """A library of .cu files, or of its stand-in where there is no toolkit.

    Args:
      name: the library.
      srcs: .cu files.
      hdrs: its headers. They include no CUDA header, as everyone may include them.
      without_cuda: .cc files which define the same functions, to say that there is no CUDA.
      deps: C++ libraries.
      copts: more flags for nvcc.
      defines: more macros for nvcc.
      tags: as for cc_library.
      testonly: as for cc_library.
      alwayslink: as for cc_library.
      visibility: as for cc_library.
    """
    if HAVE_CUDA:
        _cuda_objects(
            name = name,
            srcs = srcs,
            hdrs = hdrs,
            deps = deps + ["@cuda//:cudart_static"],
            copts = copts,
            defines = defines,
            tags = tags,
            testonly = testonly,
            alwayslink = alwayslink,
            visibility = visibility,
        )
    else:
        native.cc_library(
            name = name,
            srcs = without_cuda,
            hdrs = hdrs,
            deps = deps,
            tags = tags,
            testonly = testonly,
            alwayslink = alwayslink,
            visibility = visibility,
        )
