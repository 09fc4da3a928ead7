# SPDX-License-Identifier: Apache-2.0
"""What recording costs a whole engine: continuous batching of transformers, recorded and not.

    PYTHONPATH=capture/python PAGETAPE_LIBRARY=.../libpagetape_capture.so \\
        python tests/bench/transformers_ab.py --pagetape bazel-bin/pagetape --out traces-ab

Two processes hold a model of the same random weights each, one of them under `pagetape record`.
They take turns, in pairs whose order alternates: the other waits meanwhile. Throughput counts new
tokens over a whole pass, time per output token the decoding behind each request's first token.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from typing import Dict, List

# Two-sided 95% of Student's t, by degrees of freedom.
STUDENT = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}
NAMES = ("recorded", "plain")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pagetape", default="pagetape", help="the program (default: of PATH)")
    parser.add_argument("--out", default="traces-ab", help="folder of the trace")
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--sliding", action="store_true",
                        help="a Gemma-3-style model: five sliding layers, one full, and so on")
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--hidden", type=int, default=4096)
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--prompt", type=int, default=384, help="tokens of the longest")
    parser.add_argument("--tokens", type=int, default=128, help="new tokens of each request")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


# --- one of the two processes


def build(args: argparse.Namespace):
    import torch
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM

    sizes = dict(vocab_size=32000, hidden_size=args.hidden, intermediate_size=args.hidden * 3,
                 num_hidden_layers=args.layers, num_attention_heads=max(args.hidden // 128, 1),
                 num_key_value_heads=max(args.hidden // 512, 1), head_dim=128,
                 max_position_embeddings=8192)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16 if args.device == "cuda" else torch.float32)
    with torch.device(args.device):
        if args.sliding:
            kinds = ["full_attention" if i % 6 == 5 else "sliding_attention"
                     for i in range(args.layers)]
            model = Gemma3ForCausalLM(Gemma3TextConfig(sliding_window=256, layer_types=kinds,
                                                       **sizes))
        else:
            model = LlamaForCausalLM(LlamaConfig(**sizes))
    torch.set_default_dtype(torch.float32)
    model.eval().set_attn_implementation("paged|sdpa")
    return model


def worker(args: argparse.Namespace) -> None:
    """A pass for each line of stdin; its figures are a line of stdout."""
    answers, sys.stdout = sys.stdout, sys.stderr
    from transformers import ContinuousBatchingConfig, GenerationConfig
    model = build(args)
    prompts = [[1 + (i * 31 + j * 7) % 31000 for j in range(args.prompt - i % 64)]
               for i in range(args.requests)]
    groups = 6 if args.sliding else 1
    blocks = groups * args.requests * (-(-(args.prompt + args.tokens) // 16) + 2)
    generation = GenerationConfig(max_new_tokens=args.tokens, do_sample=False, eos_token_id=-1,
                                  pad_token_id=0)
    for _ in sys.stdin:
        batching = ContinuousBatchingConfig(block_size=16, num_blocks=blocks,
                                            max_batch_tokens=1024, use_cuda_graph=False,
                                            use_async_batching=False)
        begin = time.perf_counter()
        done = model.generate_batch(inputs=prompts, generation_config=generation,
                                    continuous_batching_config=batching, progress_bar=False,
                                    record_timestamps=True, warmup=False)
        elapsed = time.perf_counter() - begin
        tokens = sum(len(one.generated_tokens) for one in done.values())
        apart = [(one.timestamps[-1] - one.timestamps[0]) / (len(one.timestamps) - 1)
                 for one in done.values()]
        figures = {"tokens": tokens, "per_second": tokens / elapsed,
                   "per_token_ms": statistics.median(apart) * 1e3}
        print(json.dumps(figures), file=answers, flush=True)


# --- who starts both


def start(args: argparse.Namespace, recorded: bool) -> subprocess.Popen:
    script = [os.path.abspath(__file__), "--worker", *sys.argv[1:]]
    command = [sys.executable, "-W", "ignore", *script]
    if recorded:
        os.makedirs(args.out, exist_ok=True)
        command = [args.pagetape, "record", "--cupti", "none", "-o", args.out, "--", sys.executable,
                   "-W", "ignore", "-m", "pagetape", "run", *script]
        os.environ["PAGETAPE_OUT"] = os.path.join(args.out, "run.ptape")
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def turn(process: subprocess.Popen) -> Dict[str, float]:
    process.stdin.write("\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        sys.exit(f"a process ended early, with status {process.wait()}")
    return json.loads(line)


def ratio(pairs: List[Dict[str, Dict[str, float]]], figure: str) -> str:
    """Recorded over plain: geometric mean of the pairs and its 95% interval."""
    logs = [math.log(pair["recorded"][figure] / pair["plain"][figure]) for pair in pairs]
    mean, n = statistics.mean(logs), len(logs)
    if n < 2:
        return f"{math.exp(mean):.4f}"
    half = STUDENT.get(n - 1, 2.0) * statistics.stdev(logs) / math.sqrt(n)
    low, high = math.exp(mean - half), math.exp(mean + half)
    return f"{math.exp(mean):.4f} (95%: {low:.4f} to {high:.4f})"


def main() -> None:
    args = arguments()
    if args.worker:
        return worker(args)
    processes = {name: start(args, name == "recorded") for name in NAMES}
    for process in processes.values():
        turn(process)  # Not counted: compilers, allocators and clocks warm up.
    pairs = []
    for i in range(args.pairs):
        pairs.append({name: turn(processes[name]) for name in NAMES[::1 if i % 2 == 0 else -1]})
        print(json.dumps(pairs[-1]), flush=True)
    for process in processes.values():
        process.stdin.close()
        process.wait()
    for figure in ("per_second", "per_token_ms"):
        medians = [statistics.median(pair[name][figure] for pair in pairs) for name in NAMES]
        print(f"{figure}: recorded {medians[0]:.2f}, plain {medians[1]:.2f}, "
              f"ratio {ratio(pairs, figure)}")
    return None


if __name__ == "__main__":
    main()
