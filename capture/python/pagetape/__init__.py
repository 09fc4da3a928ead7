# SPDX-License-Identifier: Apache-2.0
"""Records the paged-KV state of LLM engines as pagetape traces.

    pagetape record -o DIR -- python server.py

starts it in each Python process by itself (startup/sitecustomize.py). Without a collector:

    PAGETAPE_OUT=run.ptape python -m pagetape run script.py [arguments]

or, in a process of one's own, `import pagetape.auto` before the engine is imported.
"""

from __future__ import annotations

import atexit
import os
import sys
from typing import Optional

from .devices import OutOfBounds
from .engines import ENGINES
from .importhook import PostImportHooks
from .recording import Recorder, TextRecorder, open_recorder

__all__ = ["OutOfBounds", "PostImportHooks", "Recorder", "TextRecorder", "active", "start", "stop"]

_active: Optional["Session"] = None


class Session:
    """One recording: the recorder, the hooks that feed it and the adapters' state."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.hooks = PostImportHooks()
        self.adapters = {engine.package: engine.adapter().install(self.hooks, recorder)
                         for engine in ENGINES if engine.module}
        self.sglang = self.adapters["sglang"]
        self.transformers = self.adapters["transformers"]
        self.vllm = self.adapters["vllm"]
        self.hooks.install()

    def close(self) -> None:
        self.hooks.remove()
        for skipped in self.hooks.skipped:
            text = f"pagetape: skipped {skipped.hook} of {skipped.module}: {skipped.reason}"
            print(text, file=sys.stderr)
            self.recorder.emit("note", text=text)
        self.sglang.finish()
        self.vllm.launches.close()
        self.vllm.launch_guard.close()
        self.transformers.guard.close()
        self.transformers.buffers.close()
        self.recorder.close()


def start(path: Optional[str] = None, late: bool = False) -> Session:
    """Starts recording to `path`, or to PAGETAPE_OUT; `late`: the trace is opened with the first
    event that is more than a header or a note. A second call gives the same session.
    A process that inherited the environment of a recording one writes a file of its own."""
    global _active
    if _active is None:
        path = path or os.environ["PAGETAPE_OUT"]
        first = os.environ.setdefault("PAGETAPE_FIRST_PID", str(os.getpid()))
        if first != str(os.getpid()):
            root, dot, suffix = path.rpartition(".")
            path = f"{root}.{os.getpid()}.{suffix}" if dot else f"{path}.{os.getpid()}"
        _active = Session(open_recorder(path, late=late))
        atexit.register(stop)
    return _active


def active() -> Optional[Session]:
    return _active


def stop() -> None:
    global _active
    if _active is not None:
        session, _active = _active, None
        session.close()
