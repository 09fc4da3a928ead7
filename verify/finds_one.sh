#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What trace_test(finds = …) of trace_test.bzl runs: its arguments, a command that must find it.
# A test program that has to fail writes no report of its own: that would be a failure counted.
unset XML_OUTPUT_FILE GTEST_OUTPUT
"$@"
status=$?
[ "$status" -eq 1 ] || { echo "expected a finding, and the exit code 1: got $status"; exit 1; }
