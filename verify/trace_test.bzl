# SPDX-License-Identifier: Apache-2.0
"""A recorded trace as a test: `pagetape assert` over it."""

def trace_test(name, trace, rules = None, **kwargs):
    """Fails where the trace has findings, or where a required rule could not be checked.

    Args:
      name: of the test.
      trace: a label: a binary or a text trace.
      rules: names of the rules that must be checked; None: those of `pagetape assert`.
      **kwargs: of sh_test.
    """
    args = ["$(location //:pagetape)", "assert"]
    if rules:
        args += ["--rules", ",".join(rules)]
    native.sh_test(
        name = name,
        size = "small",
        srcs = ["//verify:assert_one.sh"],
        args = args + ["$(location %s)" % trace],
        data = ["//:pagetape", trace],
        **kwargs
    )
