# SPDX-License-Identifier: Apache-2.0
"""The engines that are known, a line each: a new adapter is listed here and nowhere else."""

from __future__ import annotations

import importlib
from typing import NamedTuple


class Engine(NamedTuple):
    package: str  # As it is imported and installed.
    # The adapter, a module of this package: install(hooks, recorder) and RECORDS, and where they
    # are known DRIVEN, the releases it was run with. "": there is none.
    module: str

    def adapter(self):
        return importlib.import_module(f"{__package__}.{self.module}")


ENGINES = (
    Engine("sglang", "sglang"),
    Engine("vllm", "vllm"),
    Engine("transformers", "hf_transformers"),
)
