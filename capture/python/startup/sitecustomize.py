# SPDX-License-Identifier: Apache-2.0
"""Python imports this module at every start. `pagetape record` puts its folder before PYTHONPATH,
so that the adapters stand ready in each Python process below it, spawned ranks too. It imports no
engine, and opens no trace until one of the adapters has something to record.

A sitecustomize that was there before is run as if this one were not there."""

import importlib.machinery
import importlib.util
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))


def _run_the_hidden_one():
    path = [p for p in sys.path if os.path.abspath(p) != _HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", path)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


def _start():
    sys.path.append(os.path.dirname(_HERE))  # Last: it hides nothing of the program's.
    try:
        import pagetape.auto  # noqa: F401  (starts)
    except Exception as error:  # a server must not fall over its recorder
        if os.environ.get("PAGETAPE_STRICT", "") not in ("", "0"):
            raise
        print(f"pagetape: this process is not recorded: {type(error).__name__}: {error}",
              file=sys.stderr)


if os.environ.get("PAGETAPE_OUT"):
    _start()
_run_the_hidden_one()
