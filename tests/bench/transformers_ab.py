# SPDX-License-Identifier: Apache-2.0
"""What recording costs a whole engine: continuous batching of transformers, recorded and not.

    python tests/bench/transformers_ab.py --pagetape bazel-bin/pagetape --python capture/python

Passes are alike: the same prompts, the same number of tokens, no sampling. A pass's figure is the
median time between two tokens while all requests decode, by the engine's own clock. Passes take
turns, in rounds whose order is shuffled by a fixed seed; one round goes before, uncounted. A
pass compares with the plain one of its own round and process:

  plain   the adapters' hooks are taken off the engine's classes
  hooks   recorded, into the ring of `pagetape record`
  guard   and each launch guarded, with a copy of what it reads (clamp)

With --cupti a second process of the same model has CUPTI in it, which cannot be taken off: its
plain pass compares with the first process's, and so does a third process's, where nothing differs
but the process.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import random
import statistics
import subprocess
import sys
from typing import Dict, List

# Two-sided 95% of Student's t, by degrees of freedom.
STUDENT = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26,
           10: 2.23, 11: 2.20, 12: 2.18, 13: 2.16, 14: 2.14, 15: 2.13}
MODES = ("plain", "hooks", "guard")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pagetape", default="pagetape", help="the program (default: of PATH)")
    parser.add_argument("--python", default="", help="folder of the Python package")
    parser.add_argument("--cupti", default="", help="libpagetape_cupti.so, to measure it too")
    parser.add_argument("--out", default="traces-ab", help="folder of the traces")
    parser.add_argument("--rounds", type=int, default=8)
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


# --- one of the processes


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


def hooked() -> List[tuple]:
    """The hooks of the adapter: class, name, the engine's function, the one in its place."""
    found = []
    for name, module in list(sys.modules.items()):
        if not name.startswith("transformers.generation.continuous_batching."):
            continue
        for cls in vars(module).values():
            for key, value in list(vars(cls).items()) if isinstance(cls, type) else []:
                if getattr(value, "_pagetape", False):
                    found.append((cls, key, value.__wrapped__, value))
    return found


def decode_gap_ms(done) -> float:
    """The median time between tokens, from when the last request has its first to when the first
    one ends."""
    begin = max(one.timestamps[0] for one in done.values())
    end = min(one.timestamps[-1] for one in done.values())
    stamps = [t for t in min(done.values(), key=lambda one: one.timestamps[0]).timestamps
              if begin <= t <= end]
    return statistics.median(b - a for a, b in zip(stamps, stamps[1:])) * 1e3


def worker(args: argparse.Namespace) -> None:
    """A pass for each line of stdin, which is its mode; its figure is a line of stdout."""
    answers, sys.stdout = sys.stdout, sys.stderr
    from transformers import ContinuousBatchingConfig, GenerationConfig
    import transformers.generation.continuous_batching  # noqa: F401
    import pagetape
    model, hooks, session = build(args), hooked(), pagetape.active()
    prompts = [[1 + (i * 31 + j * 7) % 31000 for j in range(args.prompt - i % 64)]
               for i in range(args.requests)]
    groups = 6 if args.sliding else 1
    blocks = groups * args.requests * (-(-(args.prompt + args.tokens) // 16) + 2)
    generation = GenerationConfig(max_new_tokens=args.tokens, do_sample=False, eos_token_id=-1,
                                  pad_token_id=0)
    for line in sys.stdin:
        mode = line.strip()
        for cls, name, plain, hook in hooks:
            setattr(cls, name, plain if mode == "plain" else hook)
        session.transformers.buffers.mode = "clamp" if mode == "guard" else None
        batching = ContinuousBatchingConfig(block_size=16, num_blocks=blocks,
                                            max_batch_tokens=1024, use_cuda_graph=False,
                                            use_async_batching=False)
        gc.collect()
        done = model.generate_batch(inputs=prompts, generation_config=generation,
                                    continuous_batching_config=batching, progress_bar=False,
                                    record_timestamps=True, warmup=False)
        wrong = [one.error for one in done.values() if one.error]
        if wrong or len(done) != len(prompts):
            sys.exit(f"a {mode} pass failed: {wrong[:1]}")
        sums = sum(sum(one.generated_tokens) for one in done.values())
        print(json.dumps({"ms": decode_gap_ms(done), "sums": sums}), file=answers, flush=True)


# --- who starts them


def start(args: argparse.Namespace, name: str, cupti: str) -> subprocess.Popen:
    command = [args.pagetape, "record", "--cupti", cupti or "none", "-o",
               os.path.join(args.out, name)]
    if args.python:
        command += ["--python", args.python]
    command += ["--", sys.executable, "-W", "ignore", os.path.abspath(__file__), "--worker",
                *sys.argv[1:]]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def turn(process: subprocess.Popen, mode: str) -> Dict[str, float]:
    process.stdin.write(mode + "\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        sys.exit(f"a process ended early, with status {process.wait()}")
    return json.loads(line)


def ratio(rounds: List[Dict[str, float]], name: str, base: str) -> str:
    """Geometric mean of the rounds' ratios and its 95% interval."""
    logs = [math.log(one[name] / one[base]) for one in rounds]
    mean, n = statistics.mean(logs), len(logs)
    if n < 2:
        return f"{math.exp(mean):.4f}"
    half = STUDENT.get(n - 1, 2.1) * statistics.stdev(logs) / math.sqrt(n)
    low, high = math.exp(mean - half), math.exp(mean + half)
    return f"{math.exp(mean):.4f} (95%: {low:.4f} to {high:.4f})"


def main() -> None:
    args = arguments()
    if args.worker:
        return worker(args)
    processes = {"": start(args, "hooks", "")}
    turns = [("", mode) for mode in MODES]
    if args.cupti:
        processes.update({"cupti ": start(args, "cupti", args.cupti),
                          "other ": start(args, "other", "")})
        turns += [("cupti ", "plain"), ("cupti ", "hooks"), ("other ", "plain")]
    order, rounds, answers = random.Random(0), [], set()
    for i in range(args.rounds + 1):
        order.shuffle(turns)
        found = {where + mode: turn(processes[where], mode) for where, mode in turns}
        answers |= {one["sums"] for one in found.values()}
        if i > 0:
            rounds.append({name: one["ms"] for name, one in found.items()})
            print(json.dumps(rounds[-1]), flush=True)
    for process in processes.values():
        process.stdin.close()
        process.wait()
    print(f"answers: {'all the same' if len(answers) == 1 else answers}")
    for where, mode in sorted(turns):
        name = where + mode
        median = statistics.median(one[name] for one in rounds)
        line = f"{name}: {median:.3f} ms a token"
        print(line if name == "plain" else f"{line}, of plain {ratio(rounds, name, 'plain')}")
    return None


if __name__ == "__main__":
    main()
