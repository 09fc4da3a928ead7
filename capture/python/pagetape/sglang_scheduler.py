# SPDX-License-Identifier: Apache-2.0
"""What SGLang's scheduler knows of a server: steps, the drafts that were accepted, launches that
are complete, and the rank.

Of rejected drafts no `rewind` is told: where steps overlap, the next one has written behind them
before it is known what was accepted.
"""

from __future__ import annotations

import inspect
from typing import Optional

from . import recording
from .importhook import after, around, expect, wrap
from .recording import ints


def _size(server_args, name: str) -> int:
    return int(getattr(server_args, name, 1) or 1)


def _rank(server_args, tp_rank, pp_rank, dp_rank) -> Optional[int]:
    """None where there is one only, or another could have the same."""
    tensor, pipeline, replicas = (_size(server_args, name)
                                  for name in ("tp_size", "pp_size", "dp_size"))
    if getattr(server_args, "enable_dp_attention", False):
        replicas, dp_rank = 1, None  # They are parts of the tensor group.
    joined = int(getattr(server_args, "ep_join_rank_offset", 0) or 0)  # behind so many others
    if dp_rank is None and (replicas > 1 or tensor * pipeline == 1 and not joined):
        return None
    return (int(dp_rank or 0) * pipeline + int(pp_rank)) * tensor + int(tp_rank) + joined


class SchedulerHooks:
    def __init__(self, adapter) -> None:
        self._adapter = adapter
        self._recorder = adapter.recorder
        self._done = 0  # The last launch that is known to be complete.

    def scheduler(self, module) -> None:
        cls = module.Scheduler
        expect(cls.run_batch, "batch")
        expect(cls.process_batch_result, "batch", "result")
        around(cls, "run_batch", self._begin, self._launched)
        after(cls, "process_batch_result", self._processed)

    def rank(self, module) -> None:
        """Before the scheduler has made anything that is recorded, when it has no parallel state
        yet. Ranks are counted by replica, then pipeline stage, then tensor part."""
        cls = module.Scheduler
        expect(cls.__init__, "server_args", "tp_rank", "pp_rank", "dp_rank")
        signature = inspect.signature(cls.__init__)

        def make(original):
            def init(scheduler, *args, **kwargs):
                given = signature.bind(scheduler, *args, **kwargs).arguments
                number = _rank(**{one: given[one] for one in (
                    "server_args", "tp_rank", "pp_rank", "dp_rank")})
                if number is not None:
                    recording.rank_is(number)
                # Of a pipeline's stages none does: see _processed().
                self._adapter.backends.completes = _size(given["server_args"], "pp_size") == 1
                return original(scheduler, *args, **kwargs)

            return init

        wrap(cls, "__init__", make)

    def _begin(self, scheduler, batch, *_args, **_kwargs) -> bool:
        self._adapter.step(int(getattr(scheduler, "forward_ct", 0)) + 1,
                           batch.forward_mode.name.lower(), len(batch.reqs or ()))
        return True

    def _launched(self, _scheduler, result, _begun, *_args, **_kwargs) -> None:
        """The last launch goes with what the batch's results are in."""
        if hasattr(result, "__dict__"):
            result.pagetape_launch = self._recorder.last_launch()

    def _processed(self, _scheduler, _result, batch, result, *_args, **_kwargs) -> None:
        """The results were read on the host, so what came before them on their stream is complete;
        but for a pipeline's stages that hand theirs on, and batches without results. A pipeline
        makes its results anew, which go with no launch."""
        ticket = getattr(result, "pagetape_launch", 0)
        handed_on = getattr(result, "pp_hidden_states_proxy_tensors", None) is not None
        if ticket and ticket != self._done and not handed_on and not batch.forward_mode.is_idle():
            self._done = ticket
            self._recorder.launch_done(ticket)
        lengths = getattr(result, "accept_lens", None)
        drafts = getattr(result, "speculative_num_draft_tokens", None)
        if lengths is None or not drafts or not batch.forward_mode.is_decode():
            return
        own = int(getattr(result, "num_non_draft_tokens_per_req", 1))
        for req, length in zip(batch.reqs, ints(lengths)):
            self._recorder.emit("accept", req=str(req.rid), drafted=int(drafts) - own,
                                accepted=max(length - own, 0))
