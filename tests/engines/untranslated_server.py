# SPDX-License-Identifier: Apache-2.0
"""SGLang's server with one fault: what its frozen-KV draft reads is looked up while the draft's own
pool is bound, which has no sliding window, not the target's. So no id is translated, and sliding
layers get ids of the full pool: what the recordings of 0.5.19 show of another backend."""
import contextlib
import runpy

from sglang.srt.speculative.frozen_kv_mtp_worker_v2 import FrozenKVMTPDraftWorker


@contextlib.contextmanager
def its_own_view(_worker, forward_batch):
    saved, forward_batch.spec_info = forward_batch.spec_info, None
    try:
        yield
    finally:
        forward_batch.spec_info = saved


# Processes that it starts import this file, too.
FrozenKVMTPDraftWorker._frozen_kv_target_view = its_own_view

if __name__ == "__main__":
    runpy.run_module("sglang.launch_server", run_name="__main__")
