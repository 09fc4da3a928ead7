# SPDX-License-Identifier: Apache-2.0
"""Looks at SGLang's tensors that cost what changed in them, not what they hold. On a GPU each look
waits for what was put on the stream before: there are few a step, whatever the number of layers.
"""

from __future__ import annotations

import sys
from typing import Any, Callable, Dict, List, Tuple

from .recording import ints


def not_in(these, others) -> List[int]:
    """The entries of one list of page ids that are not in another, in their order. Mostly one list
    is the other with a part cut out or put in."""
    torch = sys.modules["torch"]
    more = these.numel() - others.numel()
    if more >= 0:
        unlike = (these[:others.numel()] != others).nonzero()
        at = int(unlike[0]) if unlike.numel() else others.numel()
        if torch.equal(these[at + more:], others[at:]):
            return ints(these[at:at + more])
    return ints(these[~torch.isin(these, others)])


class Reads:
    """Index tensors as lists, and what is made of them. Layers of one pass that are given the same
    tensor do not have it read again, while torch counts no change of it: what a kernel writes there
    between two layers is not seen."""

    def __init__(self) -> None:
        self._made: Dict[tuple, Tuple[object, int, Any]] = {}

    def once(self, tensor, what: tuple, make: Callable[[], Any]) -> Any:
        version = -1 if tensor.is_inference() else tensor._version  # Those have no count.
        key = (id(tensor), *what)
        found = self._made.get(key)
        if found is None or found[0] is not tensor or found[1] != version:
            # The tensor is kept: id() of a dead one comes back for another.
            found = self._made[key] = (tensor, version, make())
        return found[2]

    def ints(self, tensor) -> List[int]:
        return self.once(tensor, (), lambda: ints(tensor))

    def parts(self, ends) -> List[int]:
        """The differences of a tensor's entries."""
        def differences() -> List[int]:
            values = self.ints(ends)
            return [end - begin for begin, end in zip(values, values[1:])]

        return self.once(ends, ("parts",), differences)

    def forget(self) -> None:
        """A new pass: what is in the tensors may be new, too."""
        self._made.clear()
