# SPDX-License-Identifier: Apache-2.0
"""transformers_cb.py on the CPU, its index lists compared where they are as they are on a GPU: by
the processor, but through the same hooks."""

from __future__ import annotations

from pagetape.hf_buffers import Buffers

import transformers_cb


class OnGpu:
    """A tensor that says that it is on one."""

    is_cuda = True

    def __init__(self, tensor) -> None:
        self._tensor = tensor

    def __getattr__(self, name):
        return getattr(self._tensor, name)


def compare_where_they_are() -> None:
    original = Buffers._table

    def table(buffers, opened, cells, *what):
        return original(buffers, opened, OnGpu(cells), *what)

    Buffers._table = table


if __name__ == "__main__":
    compare_where_they_are()
    transformers_cb.main()
