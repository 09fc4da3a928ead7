# SPDX-License-Identifier: Apache-2.0
"""python_test: a file of unittest cases, each of which is counted."""

def python_test(name, src, data = [], size = "small", tags = [], **kwargs):
    """Runs the cases of one Python file with the system's Python, which needs no packages.

    It runs anew each time and beside the sources rather than on copies of them ("external" and
    "local"), since such tests look at the tree itself: at files that no target names.

    Args:
      name: the test.
      src: the file.
      data: targets that it needs built; the runner's directory is the workspace's, so that
        "pagetape" or "capture/libx.so" is found under $TEST_SRCDIR/$TEST_WORKSPACE.
      size: as for sh_test.
      tags: as for sh_test.
      **kwargs: as for sh_test.
    """

    # An sh_test runs any executable; py_test would need a toolchain and a start-up script.
    native.sh_test(
        name = name,
        size = size,
        srcs = ["//tests/python:run_unittest.py"],
        args = ["$(location %s)" % src],
        data = [src] + data,
        tags = tags + [
            "external",
            "local",
        ],
        **kwargs
    )
