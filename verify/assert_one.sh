#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What trace_test() of trace_test.bzl runs: its arguments, as a command.
exec "$@"
