# SPDX-License-Identifier: Apache-2.0
"""Says which hooks fit the engines that this interpreter has: imports the modules that hooks watch
and lets them patch, starts no engine and records nothing.

    python -m pagetape doctor [PACKAGE]

prints JSON; with PACKAGE that engine's part alone. Each engine is looked at in a process of its
own: what importing it does to a process, a crash included, stays there.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from typing import Any, Dict, List

from .engines import ENGINES, Engine
from .importhook import PostImportHooks
from .recording import Nowhere, Recorder

PATIENCE_S = 300


def version_of(package: str):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _import(name: str) -> str:
    """Why the module cannot be imported; "": it can, or this release has no such module."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(missing + "."):
            return ""
        return f"{type(error).__name__}: {error}"
    except BaseException as error:  # an engine may do anything while it is imported
        return f"{type(error).__name__}: {error}"
    return ""


def hooks_of(engine: Engine) -> List[Dict[str, Any]]:
    """One entry a hook. It fits where it patched, in whatever module; it is absent where this
    release has none of its modules."""
    hooks = PostImportHooks()
    engine.adapter().install(hooks, Recorder(Nowhere()))
    hooks.install()
    failed = {}
    for module in dict.fromkeys(watched.module for watched in hooks.watched):
        why = _import(module)
        if why:
            failed[module] = why
    hooks.remove()
    found: Dict[str, Dict[str, Any]] = {}
    for watched in hooks.watched:
        one = found.setdefault(watched.hook, {"hook": watched.hook, "modules": [], "why": [],
                                              "fits": False, "gives": sorted(watched.gives)})
        one["modules"].append(watched.module)
        one["fits"] |= f"{watched.module}:{watched.hook}" in hooks.applied
        one["why"] += [skipped.reason for skipped in hooks.skipped
                       if skipped[:2] == watched[:2]]
        if watched.module in failed:
            one["why"].append(f"{watched.module} cannot be imported: {failed[watched.module]}")
    return [_judged(one) for one in found.values()]


def _judged(one: Dict[str, Any]) -> Dict[str, Any]:
    status = "fits" if one.pop("fits") else "does not fit" if one["why"] else "absent"
    why = "" if status == "fits" else "; ".join(dict.fromkeys(one.pop("why")))
    if status == "absent":
        why = "this release has none of its modules"
    one.pop("why", None)
    return {**one, "status": status, "why": why}


def examine(engine: Engine) -> Dict[str, Any]:
    out: Dict[str, Any] = {"engine": engine.package, "version": version_of(engine.package)}
    if out["version"] is None and importlib.util.find_spec(engine.package) is None:
        return {**out, "status": "not installed"}
    if not engine.module:
        return {**out, "status": "no adapter"}
    adapter = engine.adapter()
    driven = list(getattr(adapter, "DRIVEN", ()))
    hooks = hooks_of(engine)
    fitting = [one for one in hooks if one["status"] == "fits"]
    gives = {kind for one in fitting for kind in one["gives"]}
    if fitting and not any(one["gives"] for one in hooks):  # An adapter that does not say.
        gives = set(adapter.RECORDS)
    return {**out, "status": "hooks fit" if len(fitting) == len(hooks) else
            "some hooks fit" if fitting else "no hook fits",
            "driven": driven, "hooks": hooks, "records": sorted(gives)}


def examine_apart(engine: Engine) -> Dict[str, Any]:
    out = {"engine": engine.package, "version": version_of(engine.package)}
    try:
        done = subprocess.run([sys.executable, "-m", __package__, "doctor", engine.package],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=PATIENCE_S, check=False)
        # What an engine prints while it is imported comes before.
        return json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {**out, "status": "unknown", "why": f"importing it took more than {PATIENCE_S} s"}
    except (ValueError, IndexError):
        last = (done.stderr.strip().splitlines() or [""])[-1]
        return {**out, "status": "unknown",
                "why": f"importing it ended the process ({done.returncode}): {last}"}


def main(arguments: List[str]) -> None:
    os.environ.pop("PAGETAPE_STRICT", None)
    os.environ.pop("PAGETAPE_OUT", None)
    if arguments:
        engine = next((one for one in ENGINES if one.package == arguments[0]), None)
        if engine is None:
            sys.exit(f"no engine of that name: {arguments[0]}")
        print("\n" + json.dumps(examine(engine)))
        return
    print(json.dumps({"python": platform.python_version(), "executable": sys.executable,
                      "engines": [examine_apart(engine) for engine in ENGINES]}))
