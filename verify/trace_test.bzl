# SPDX-License-Identifier: Apache-2.0
"""A recorded trace as a test: `pagetape assert` over it."""

def trace_test(name, trace, rules = None, finds = None, **kwargs):
    """Fails where the trace has findings, or where a required rule could not be checked.

    With `finds` it is the other way round: fails unless the trace has a finding of that rule.

    Args:
      name: of the test.
      trace: a label: a binary or a text trace.
      rules: names of the rules that must be checked; None: those of `pagetape assert`.
      finds: name of a rule; `pagetape shrink --emit bazel` writes such tests.
      **kwargs: of sh_test.
    """
    args = ["$(location //:pagetape)", "verify" if finds else "assert"]
    if finds:
        args += ["--rule", finds]
    elif rules:
        args += ["--rules", ",".join(rules)]
    native.sh_test(
        name = name,
        size = "small",
        srcs = ["//verify:finds_one.sh" if finds else "//verify:assert_one.sh"],
        args = args + ["$(location %s)" % trace],
        data = ["//:pagetape", trace],
        **kwargs
    )
