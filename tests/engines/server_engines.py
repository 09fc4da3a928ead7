# SPDX-License-Identifier: Apache-2.0
"""SGLang's server on a GPU under `pagetape record`, as it is started by who runs one. Skipped but
where $PAGETAPE_SERVER_PYTHON names a Python that has SGLang with its kernels, and torch sees a GPU
there. The model is a small one of Gemma 4's form, ten sliding layers and two full ones, its weights
drawn at random: nothing is downloaded."""
import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import run_engines as live  # noqa: E402

PYTHON = os.environ.get("PAGETAPE_SERVER_PYTHON", "")
SLIDING, FULL = "sliding_attention", "full_attention"
MODEL = {
    "architectures": ["Gemma4ForCausalLM"], "model_type": "gemma4_text", "torch_dtype": "bfloat16",
    "vocab_size": 4096, "vocab_size_per_layer_input": 4096, "hidden_size_per_layer_input": 0,
    "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0, "max_position_embeddings": 8192,
    "hidden_size": 256, "intermediate_size": 512, "moe_intermediate_size": 512,
    "num_hidden_layers": 12, "layer_types": ([SLIDING] * 5 + [FULL]) * 2, "sliding_window": 256,
    "num_attention_heads": 4, "num_key_value_heads": 2, "num_global_key_value_heads": 2,
    "swa_num_key_value_heads": 2, "num_kv_shared_layers": 0, "attention_k_eq_v": False,
    # As SGLang names them: plain for full layers, swa_ for sliding ones.
    "head_dim": 128, "v_head_dim": 128, "global_head_dim": 128, "swa_head_dim": 64,
    "swa_v_head_dim": 64, "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True,
    "enable_moe_block": False, "use_double_wide_mlp": False, "final_logit_softcapping": 30.0,
    "rms_norm_eps": 1e-6, "initializer_range": 0.02, "attention_bias": False, "use_cache": True,
    "rope_parameters": {
        SLIDING: {"rope_type": "default", "rope_theta": 10000.0},
        FULL: {"rope_type": "proportional", "rope_theta": 1e6, "partial_rotary_factor": 0.25}},
}
# Reads the target's K and V: SGLang then drafts with a frozen KV. Of this form it takes the names
# that Transformers has, where `head_dim` is that of sliding layers.
DRAFT = {
    "architectures": ["Gemma4AssistantForCausalLM"], "model_type": "gemma4_assistant",
    "torch_dtype": "bfloat16", "backbone_hidden_size": MODEL["hidden_size"],
    "tie_word_embeddings": True, "text_config": {
        **MODEL, "head_dim": MODEL["swa_head_dim"], "hidden_size": 128, "num_hidden_layers": 4,
        "num_kv_shared_layers": 4,
        "layer_types": [SLIDING] * 3 + [FULL], "vocab_size_per_layer_input": 0}}
# As it comes: whole graphs for decode, for prompts some that are broken off at each attention.
GRAPHS = ("--cuda-graph-bs-decode", "1", "2", "4", "8", "16",
          "--cuda-graph-bs-prefill", "64", "128", "256", "512")
EAGER = ("--cuda-graph-backend-decode", "disabled", "--cuda-graph-backend-prefill", "disabled")
DRAFTS = ("--speculative-algorithm", "NEXTN", "--speculative-draft-model-path", None,
          "--speculative-num-steps", "3", "--speculative-eagle-topk", "1",
          "--speculative-num-draft-tokens", "4")
# Random weights agree on nothing: SGLang is told how many to accept.
ACCEPTED = (("SGLANG_SIMULATE_ACC_LEN", "2.5"),)
CUPTI = ("--cupti", os.path.join(live.ROOT, "bazel-bin/capture/libpagetape_cupti.so"))
LANES, REQUESTS = 12, 96
# Tokens that each is to get; one who goes away counts none.
ASKED = [0 if i % 16 == 3 else (1, 8, 40, 100)[i % 4] for i in range(REQUESTS)]
READY_S, SERVED_S = 600, 120  # SGLang compiles some kernels when it is first used.


class Run(NamedTuple):
    arguments: tuple  # None: the draft's folder.
    options: tuple  # Of `record`.
    ends: int = signal.SIGTERM
    environment: tuple = ()
    program: tuple = ("-m", "sglang.launch_server")


RUNS = {
    "eager": Run(EAGER, CUPTI),
    "graphs": Run(GRAPHS, CUPTI),
    "guarded": Run(GRAPHS, (*CUPTI, "--guard", "clamp")),
    "drafts": Run((*GRAPHS, *DRAFTS), CUPTI, environment=ACCEPTED),
    "killed": Run((*EAGER, "--disable-radix-cache"), ("--cupti", "none"), signal.SIGKILL),
}
FAULTY = Run((*GRAPHS, *DRAFTS), ("--cupti", "none"), environment=ACCEPTED,
             program=(os.path.join(live.ROOT, "tests/engines/untranslated_server.py"),))


def has_a_server():
    return PYTHON and live.sees_a_gpu(PYTHON) and subprocess.run(
        [PYTHON, "-c", "import sglang, sgl_kernel"], check=False, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL).returncode == 0


def text_of(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def prompts():
    """Of their own and with beginnings in common, longer than the window and shorter."""
    draw = random.Random(1)

    def ids(n):
        return [draw.randrange(10, MODEL["vocab_size"]) for _ in range(n)]

    shared = [ids(n) for n in (700, 320, 130)]
    return [(shared[i % 3] if i % 4 else []) + ids(draw.choice((3, 40, 170, 420)))
            for i in range(REQUESTS)]


class Server:
    """One run: what `record` and the server printed, the answers' lengths, the engine's trace."""

    def __init__(self, run):
        self.answers = []
        self.folder = tempfile.TemporaryDirectory()
        model, draft, traces, said = (os.path.join(self.folder.name, one)
                                      for one in ("model", "draft", "traces", "said"))
        for folder, what in ((model, MODEL), (draft, DRAFT)):
            os.mkdir(folder)
            with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as config:
                json.dump(what, config)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        with open(said, "w", encoding="utf-8") as log:
            record = subprocess.Popen(
                [live.PAGETAPE, "record", "-o", traces, "--python",
                 os.path.join(live.ROOT, "capture/python"), *run.options, "--",
                 PYTHON, *run.program, "--model-path", model, "--load-format", "dummy",
                 "--skip-tokenizer-init", "--attention-backend", "triton",
                 "--sampling-backend", "pytorch", "--grammar-backend", "none",
                 "--mm-feature-transport", "cpu", "--max-total-tokens", "16384",
                 "--max-running-requests", "16", "--chunked-prefill-size", "512",
                 "--host", "127.0.0.1", "--port", str(self.port),
                 *(draft if one is None else one for one in run.arguments)],
                cwd=self.folder.name, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                env=dict(os.environ, PAGETAPE_LIBRARY=live.LIBRARY, **dict(run.environment)))
        try:
            self.serve(record, said, run.ends)
            self.status = record.wait(60)
        finally:
            with contextlib.suppress(ProcessLookupError):  # What is left of it keeps a GPU.
                os.killpg(record.pid, signal.SIGKILL)
            record.wait()
        self.log = text_of(said)
        found = [os.path.join(traces, one) for one in os.listdir(traces)]
        # The launching process has a trace of its own, of CUPTI alone.
        self.trace = max(found, key=os.path.getsize)
        self.report = json.loads(live.run("verify", "--format", "json", self.trace).stdout)

    def serve(self, record, said, ends):
        until = time.monotonic() + READY_S
        while "fired up" not in text_of(said):
            if record.poll() is not None or time.monotonic() > until:
                raise AssertionError(text_of(said)[-4000:])
            time.sleep(0.5)
        with ThreadPoolExecutor(LANES) as pool:
            asked = [pool.submit(self.ask, *one) for one in enumerate(prompts())]
            if ends == signal.SIGKILL:
                while sum(one.done() for one in asked) < REQUESTS // 2:
                    time.sleep(0.05)
                for process in below(record.pid):  # `record` itself goes on.
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
        self.answers = [one.result() for one in asked]
        if ends != signal.SIGKILL:
            record.send_signal(ends)

    def ask(self, number, prompt):
        """The new tokens; none where nobody waited for them, or the server is gone."""
        sampling = {"max_new_tokens": (1, 8, 40, 100)[number % 4], "ignore_eos": True}
        server = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SERVED_S)
        try:
            server.request("POST", "/generate", json.dumps(
                {"input_ids": prompt, "sampling_params": sampling, "stream": number % 16 == 3}),
                {"Content-Type": "application/json"})
            answer = server.getresponse()
            if number % 16 == 3:  # A client that goes away in the middle of its answer.
                answer.readline()
                return 0
            return len(json.loads(answer.read())["output_ids"])
        except (OSError, http.client.HTTPException, ValueError, KeyError):
            return 0
        finally:
            server.close()


def below(process):
    """The processes that it started, and theirs."""
    parents = {}
    for one in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{one}/stat", encoding="utf-8", errors="replace") as stat:
                parents[int(one)] = int(stat.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    found = [process]
    for parent in found:
        found += [one for one, its in parents.items() if its == parent]
    return found[1:]


class SglangServes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.servers = {}
        if has_a_server():
            with ThreadPoolExecutor() as pool:
                *servers, cls.faulty = pool.map(Server, (*RUNS.values(), FAULTY))
            cls.servers = dict(zip(RUNS, servers))

    def setUp(self):
        if not self.servers:
            self.skipTest("$PAGETAPE_SERVER_PYTHON names no Python with SGLang, its kernels and a "
                          "GPU")

    def test_no_hook_stopped_and_all_was_answered(self):
        for name, server in self.servers.items():
            said = [line for line in server.log.splitlines() if line.startswith("pagetape: ")]
            self.assertFalse([line for line in said if "stopped" in line or "skipped" in line],
                             (name, said))
            if name == "killed":
                self.assertEqual(server.status, 128 + signal.SIGKILL)
                continue
            self.assertEqual(server.status, 0, name)
            self.assertEqual(server.answers, ASKED, name)

    def test_what_it_did_is_recorded_and_clean(self):
        for name, server in self.servers.items():
            report = server.report
            self.assertEqual((report["verdict"], report["counts"]), ("pass", {}), name)
            self.assertGreater(report["launches"], 4000, name)
            for rule in ("OOB_PAGE", "WRONG_SPACE", "STALE_BINDING"):
                self.assertGreater(report["rules"][rule]["judged"], 1000, (name, rule))

    def test_whose_pages_are_is_known(self):
        """Also of those that a request finds in the cache of prefixes."""
        for name, server in self.servers.items():
            for rule in ("WRONG_OWNER", "FREED_PAGE", "ALIASED_WRITE", "UNINIT_READ"):
                self.assertGreater(server.report["rules"][rule]["judged"], 1000, (name, rule))
            recorded = live.events(server.trace)
            self.assertFalse([e for e in recorded if e["ev"] == "gap"], name)
            found = [e for e in recorded if e["ev"] == "share" and e["req"] != "#cache"]
            self.assertEqual(not found, "--disable-radix-cache" in RUNS[name].arguments, name)

    def test_each_of_the_servers_steps_is_complete_but_the_last_ones(self):
        for name, server in self.servers.items():
            recorded = live.events(server.trace)
            kinds = [e["ev"] for e in recorded]
            begin = kinds.index("step")  # Before it warms up for its graphs.
            complete = len({e["event"] for e in recorded[begin:] if e["ev"] == "launch_done"})
            steps = kinds.count("step")
            self.assertGreater(steps, 100, name)
            self.assertLessEqual(steps - complete, 2, name)
            self.assertEqual(kinds.count("dropped"), 0, name)
            # Of two steps a store and an attention for each layer, and what drafts; none by which
            # it warmed up.
            drafts = 3 * DRAFT["text_config"]["num_hidden_layers"]
            self.assertLessEqual(server.report["suspects"]["total"],
                                 2 * (2 * MODEL["num_hidden_layers"] + drafts), name)

    def test_a_frozen_draft_reads_what_the_target_wrote(self):
        recorded = live.events(self.servers["drafts"].trace)
        draft = next(e["backend"] for e in recorded if e["ev"] == "backend" and
                     e["role"] == "draft")
        its = [e for e in recorded if e["ev"] in ("attention", "store") and
               e["backend"] == draft and any(row["req"] for row in e["rows"])]
        self.assertEqual({(e["ev"], e["bound"]["pool"]) for e in its},
                         {("attention", "full0"), ("attention", "swa0")})
        self.assertGreater(len(its), 1000)
        accepted = {e["accepted"] for e in recorded if e["ev"] == "accept"}
        self.assertEqual(accepted, {1, 2})

    def test_a_frozen_draft_whose_ids_were_not_translated(self):
        """Those of the target's are: the draft is named, its sliding layers, and the space."""
        self.assertEqual((self.faulty.status, self.faulty.answers), (0, ASKED))
        self.assertEqual(self.faulty.report["verdict"], "fail")
        self.assertLessEqual({"OOB_PAGE", "WRONG_SPACE"}, set(self.faulty.report["counts"]))
        found = self.faulty.report["findings"]
        self.assertEqual({(one["backend"], one["pool"]) for one in found}, {("backend1", "swa0")})

    def test_a_guard_that_finds_nothing_changes_nothing(self):
        self.assertFalse([e for e in live.events(self.servers["guarded"].trace)
                          if e["ev"] == "note" and "guard" in e["text"]])


if __name__ == "__main__":
    unittest.main()
