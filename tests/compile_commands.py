#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes compile_commands.json, for clangd and clang-tidy, from what Bazel would run.

    tests/compile_commands.py [bazel options, e.g. --config=asan]

Build once before, so that generated headers exist.
"""
import json
import os
import subprocess
import sys

# Of GCC alone: clang does not know them.
GCC_ONLY = {
    "-fno-canonical-system-headers",
    "-Wno-free-nonheap-object",
    "-Wno-restrict",
    "-Wunused-but-set-parameter",
}


def bazel(*arguments):
    return subprocess.run([os.environ.get("BAZEL", "bazel"), *arguments], check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def entry(action, root, execroot, base):
    # GCC's pragmas are meant for GCC; a repository of Bazel's stands under its output folder, which
    # the folder of links shows only while something is built.
    arguments = [a.replace("external/", base + "/external/") if a.startswith("external/") else a
                 for a in action["arguments"] if a not in GCC_ONLY] + ["-Wno-unknown-pragmas"]
    source = arguments[arguments.index("-c") + 1]
    # Bazel compiles in a folder of links. Generated files are at home there; ours are in the
    # repository, and an editor must find them where they are edited.
    generated = source.startswith("bazel-out/")
    if not generated:
        arguments[arguments.index("-c") + 1] = os.path.join(root, source)
    return {
        "directory": execroot,
        "arguments": arguments,
        "file": os.path.join(execroot if generated else root, source),
    }


def main():
    root = bazel("info", "workspace").strip()
    execroot = bazel("info", "execution_root").strip()
    base = bazel("info", "output_base").strip()
    graph = json.loads(bazel("aquery", *sys.argv[1:], "--output=jsonproto",
                             'mnemonic("CppCompile", //...)'))
    entries = {}
    for action in graph.get("actions", []):
        if "-c" in action["arguments"]:
            made = entry(action, root, execroot, base)
            if not made["file"].startswith(os.path.join(root, "external/")):
                entries.setdefault(made["file"], made)
    with open(os.path.join(root, "compile_commands.json"), "w") as f:
        json.dump(list(entries.values()), f, indent=1)
    print("compile_commands.json: %d files" % len(entries))


if __name__ == "__main__":
    main()
