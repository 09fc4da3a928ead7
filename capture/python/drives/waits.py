# SPDX-License-Identifier: Apache-2.0
"""Which calls wait for the GPU: what torch's sync debug mode says, by who called. It knows of
torch's own calls: those of other libraries it does not see."""

from __future__ import annotations

import os
import sys
import warnings
from typing import List

import torch


class Waits:
    """Within it they are counted: the recorder's own by place, and those of others."""

    def __init__(self) -> None:
        self.own: List[str] = []
        self.others = 0

    def __enter__(self) -> "Waits":
        self._filters = warnings.catch_warnings()
        self._filters.__enter__()
        warnings.simplefilter("always")
        warnings.showwarning = self._seen
        torch.cuda.set_sync_debug_mode("warn")
        return self

    def __exit__(self, *_error) -> None:
        torch.cuda.set_sync_debug_mode("default")
        self._filters.__exit__(None, None, None)

    def _seen(self, message, *_where) -> None:
        if "synchronizing" not in str(message):
            return
        frame = sys._getframe(1)
        while frame is not None and "warnings" in os.path.basename(frame.f_code.co_filename):
            frame = frame.f_back
        place = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else "?"
        if f"{os.sep}pagetape{os.sep}" in place and f"{os.sep}drives{os.sep}" not in place:
            self.own.append(place)
        else:
            self.others += 1

    def __str__(self) -> str:
        return f"the recorder waited {len(self.own)} times, others {self.others} times" + \
            "".join(f"\n  {place}" for place in sorted(set(self.own)))
