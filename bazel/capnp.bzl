# SPDX-License-Identifier: Apache-2.0
"""cc_capnp_library: C++ from Cap'n Proto schemas with the installed compiler."""

def cc_capnp_library(name, srcs, imports = [], deps = [], visibility = None, testonly = None):
    """Generates x.capnp.h and x.capnp.c++ for each x.capnp and compiles them.

    Args:
      name: the library; include its headers as "<package>/x.capnp.h".
      srcs: schemas of this package.
      imports: schemas of other libraries that these import, as "/<package>/y.capnp".
      deps: the cc_capnp_library of each of `imports`.
      visibility: as for cc_library.
      testonly: as for cc_library.
    """
    outs = []
    for src in srcs:
        outs += [src + ".c++", src + ".h"]
    native.genrule(
        name = name + "_generate",
        srcs = srcs + imports,
        outs = outs,
        # capnp finds capnpc-c++ through PATH. --src-prefix drops the package, so that the files
        # land beside their declared names; /usr/include holds /capnp/c++.capnp.
        cmd = " ".join([
            "PATH=/usr/bin:/bin capnp compile -oc++:$(RULEDIR) --src-prefix=%s" %
            (native.package_name() or "."),
            "-I. -I/usr/include",
        ] + ["$(execpath %s)" % src for src in srcs]),
        message = "Compiling Cap'n Proto schema",
        testonly = testonly,
        visibility = ["//visibility:private"],
    )
    native.cc_library(
        name = name,
        srcs = [src + ".c++" for src in srcs],
        hdrs = [src + ".h" for src in srcs],
        # An absolute import becomes an include in angle brackets, which needs a search path.
        strip_include_prefix = "/",
        copts = ["-w"],  # generated: its warnings are not ours to mend
        deps = deps + ["//bazel/system:capnp"],
        testonly = testonly,
        visibility = visibility,
    )
