# SPDX-License-Identifier: Apache-2.0
"""What is asked of vLLM's model runners, of which there are two: V1 keeps its batch from step to
step, with an object for each group's block table; V2 gathers a batch for each step from tables in
which each request has a row of its own, into tensors that stay where they are.
"""

from __future__ import annotations

from typing import Any, Dict, List, Tuple


class Runner:
    """One of either. `engines` is the engine's own object."""

    def __init__(self, engines) -> None:
        self.engines = engines

    def layers(self) -> Dict[str, Any]:
        """All attention layers by name."""
        return self.engines.vllm_config.compilation_config.static_forward_context

    def shared(self) -> Dict[str, str]:
        """Layers that have no K/V tensor of their own, and whose they use."""
        raise NotImplementedError

    def begins(self, asked: Dict[str, int]) -> None:
        """A step, for which the scheduler asks so many new tokens of each request."""
        raise NotImplementedError

    def prepared(self, batch) -> None:
        """The object in which the runner has this step's batch."""

    def tables(self) -> list:
        """A tensor at the address of each group's block table, in their order."""
        raise NotImplementedError

    def requests(self) -> List[str]:
        """Of each row of this step's batch."""
        raise NotImplementedError

    def lanes(self) -> List[Tuple[str, int]]:
        """Each row's request and new tokens."""
        raise NotImplementedError

    def starts(self):
        """The tensor of this step's batch that says where each row's new tokens begin."""
        raise NotImplementedError


class First(Runner):
    """worker/gpu_model_runner.py"""

    def __init__(self, engines) -> None:
        super().__init__(engines)
        self._asked: Dict[str, int] = {}

    def shared(self) -> Dict[str, str]:
        return getattr(self.engines, "shared_kv_cache_layers", {})

    def begins(self, asked: Dict[str, int]) -> None:
        self._asked = asked

    def tables(self) -> list:
        return [one.get_device_tensor(1)
                for one in self.engines.input_batch.block_table.block_tables]

    def requests(self) -> List[str]:
        return [str(req) for req in self.engines.input_batch.req_ids]

    def lanes(self) -> List[Tuple[str, int]]:
        """By what the runner prepared: it may have left out drafts that it was asked for."""
        requests = self.engines.input_batch.req_ids
        starts = getattr(self.engines.query_start_loc, "np", None)
        if starts is None:
            return [(str(req), self._asked.get(req, 0)) for req in requests]
        begins = starts[:len(requests) + 1].tolist()
        return [(str(req), end - begin)
                for req, begin, end in zip(requests, begins, begins[1:])]

    def starts(self):
        starts = self.engines.query_start_loc
        return getattr(starts, "gpu", starts)


class Second(Runner):
    """worker/gpu/model_runner.py"""

    def __init__(self, engines) -> None:
        super().__init__(engines)
        self._batch: Any = None

    def shared(self) -> Dict[str, str]:
        found = {name: getattr(layer, "kv_sharing_target_layer_name", None)
                 for name, layer in self.layers().items()}
        return {name: target for name, target in found.items() if target}

    def begins(self, asked: Dict[str, int]) -> None:
        self._batch = None

    def prepared(self, batch) -> None:
        self._batch = batch

    def tables(self) -> list:
        return self.engines.block_tables.input_block_tables

    def requests(self) -> List[str]:
        return [str(req) for req in self._batch.req_ids] if self._batch is not None else []

    def lanes(self) -> List[Tuple[str, int]]:
        if self._batch is None:
            return []
        return list(zip(self.requests(), self._batch.num_scheduled_tokens.tolist()))

    def starts(self):
        return self.engines.input_buffers.query_start_loc
