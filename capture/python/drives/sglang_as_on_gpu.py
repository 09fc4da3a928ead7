# SPDX-License-Identifier: Apache-2.0
"""Runs another drive of SGLang's, $PAGETAPE_PLAYED, on a CPU and records it as on a GPU: tables,
lengths, slots, whose pages are and what they map to are told by compares, which are made where the
tensors are. What a GPU does later than the host is not played: here all is done at once."""

from __future__ import annotations

import os
import runpy
from contextlib import nullcontext

import torch
from pagetape import sglang_owners, sglang_pools
from pagetape.tensors import Tensors


def to_device(lists, _device):
    return sglang_owners.on_host(lists)


def main() -> None:
    Tensors.takes = lambda tensors, _tensor: tensors.recorder.native() is not None
    sglang_owners.to_device = sglang_pools.to_device = to_device
    torch.cuda.current_stream = lambda device=None: None
    torch.cuda.stream = lambda stream: nullcontext()
    folder = os.path.dirname(os.path.abspath(__file__))
    runpy.run_path(os.path.join(folder, os.environ["PAGETAPE_PLAYED"]), run_name="__main__")


if __name__ == "__main__":
    main()
