# SPDX-License-Identifier: Apache-2.0
"""What recording costs a whole engine: continuous batching of transformers, recorded and not.

    python tests/bench/transformers_ab.py --pagetape bazel-bin/pagetape --python capture/python

Passes are alike: the same prompts, the same number of tokens, no sampling. Within a pass, once all
requests decode, each step is of another mode, in rounds of one step a mode whose order is shuffled
by a fixed seed: what makes a machine slower for longer than a step slows all modes. A step's time
is from the beginning of its scheduling to that of the next one's, by the clock and, apart, as the
time that its thread was on a processor. One pass goes before, uncounted.

A mode's figure is of the rounds' ratios to the plain step: the pseudomedian of their logarithms
(Hodges and Lehmann: of the means of all pairs) with the interval that inverts Wilcoxon's
signed-rank test. It asks that a round's errors be symmetric, which the shuffled order makes them,
and not that they be normal: single steps are disturbed by much more than what is measured. It also
takes rounds as independent; so beside it stands the mean of the passes' pseudomedians with
Student's interval, which does not.

  plain   the adapters' hooks are taken off the engine's classes
  hooks   recorded, into the ring of `pagetape record`
  guard   and each launch guarded, with a copy of what it reads (clamp); with --guard

What happens in plain steps is not recorded, so the traces are good for nothing else. A recorded
step finds its code and tables colder than in a run that records every step, and tells what changed
in the plain steps before it, too.

With --cupti a second process, whose passes take turns with those of the first one, has the same
model, no hooks, and CUPTI:

  plain   its callbacks are taken off it and nobody is subscribed
  idle    the recorder is subscribed, without callbacks; with --idle
  cupti   and recorded is what its callbacks tell: launches, copies, events, waits

What having CUPTI's library in the process costs is in all three, and not measured. Subscribing and
enabling are not timed.

With --whole a pass is of one mode from its beginning to its end, and each mode has one in a round,
of which the ratio of the steps' medians is taken: nothing of one mode is left to a step of another,
and what a machine does meanwhile is not taken out. So it asks for more passes, and is the check of
the other.

Of each process `pagetape record` says how many events it has, and how many were dropped, if any.

With --decode graphs what decodes is CUDA graphs; what these hold is recorded at each of their
launches. Each mode has graphs of its own, captured with its hooks. With both, passes take turns.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import math
import os
import random
import statistics
import subprocess
import sys
import time
from typing import Dict, List, Optional, Tuple

# Two-sided 95% of Student's t, by degrees of freedom.
STUDENT = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26,
           10: 2.23, 11: 2.20, 12: 2.18, 13: 2.16, 14: 2.14, 15: 2.13}
CUPTI_LEVELS = {"plain": 0, "idle": 1, "cupti": 2}
DECODES = ("eager", "graphs")
WALL, THREAD = "by the clock", "the engine's thread on a processor"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pagetape", default="pagetape", help="the program (default: of PATH)")
    parser.add_argument("--python", default="", help="folder of the Python package")
    parser.add_argument("--cupti", default="", help="libpagetape_cupti.so, to measure it too")
    parser.add_argument("--cupti-alone", action="store_true", help="measure nothing else")
    parser.add_argument("--idle", action="store_true", help="subscribed without callbacks, too")
    parser.add_argument("--whole", action="store_true", help="a mode a pass, not a step")
    parser.add_argument("--out", default="traces-ab", help="folder of the traces")
    parser.add_argument("--passes", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=math.inf,
                        help="no pass begins later than so long after the first one")
    parser.add_argument("--sliding", action="store_true",
                        help="a Gemma-3-style model: five sliding layers, one full, and so on")
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--hidden", type=int, default=4096)
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--prompt", type=int, default=384, help="tokens of the longest")
    parser.add_argument("--tokens", type=int, default=128, help="new tokens of each request")
    parser.add_argument("--guard", action="store_true")
    parser.add_argument("--decode", nargs="+", choices=DECODES, default=["eager"])
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
    """The hooks of the adapter: class, name, the engine's function, the one that records in its
    place, and the one that guards, too."""
    found = []
    for name, module in list(sys.modules.items()):
        if not name.startswith("transformers.generation.continuous_batching."):
            continue
        for cls in vars(module).values():
            for key, value in list(vars(cls).items()) if isinstance(cls, type) else []:
                guards = value
                records = getattr(value, "__wrapped__", None) \
                    if getattr(value, "_pagetape_guard", False) else value
                plain = records.__wrapped__ if getattr(records, "_pagetape", False) else records
                if plain is not value:
                    found.append((cls, key, plain, records, guards))
    graph = sys.modules["torch"].cuda.CUDAGraph
    found += [(graph, key, value.__wrapped__, value, value)
              for key, value in list(vars(graph).items()) if hasattr(value, "_pagetape_hf")]
    return found


class Turns:
    """Changes the mode of an engine's steps, and times them."""

    def __init__(self, hooks: List[tuple], buffers) -> None:
        self.hooks, self.buffers = hooks, buffers
        injected = os.environ.get("CUDA_INJECTION64_PATH")
        self.cupti: Optional[ctypes.CDLL] = ctypes.CDLL(injected) if injected else None
        self.begin(["plain"], 0, 0)

    def begin(self, modes: List[str], requests: int, seed: int) -> None:
        """Before a pass of so many requests. Until all of them decode, all is recorded, so that
        the adapter knows what there is."""
        self.modes, self.requests, self.order = modes, requests, random.Random(seed)
        self.rounds: List[Dict[str, List[float]]] = []  # A step's times in ms, by mode.
        self.left: List[str] = []  # Of the round.
        self.timed, self.last = False, (0.0, 0.0)
        self._set(next((mode for mode in modes if mode not in CUPTI_LEVELS), "plain"))
        # A guard is made with the tensors; whether a step has it is decided then.
        self.buffers.mode = "clamp" if "guard" in modes else None

    def _set(self, mode: str) -> None:
        self.mode = mode
        for cls, name, plain, records, guards in self.hooks:
            setattr(cls, name, plain if mode in CUPTI_LEVELS
                    else guards if mode == "guard" else records)
        if self.cupti is not None \
                and self.cupti.pagetape_cupti_level(CUPTI_LEVELS.get(mode, 0)) != 0:
            sys.exit("CUPTI is not there, or refuses")

    def step(self, processor) -> None:
        """A step begins, and with it the one before it ends."""
        now = time.perf_counter(), time.thread_time()
        active = processor.scheduler.active_requests.values()
        steady = len(active) == self.requests and all(
            one.status.name == "DECODING" for one in active)
        if self.timed and steady:
            self.rounds[-1][self.mode] = [(b - a) * 1e3 for a, b in zip(self.last, now)]
        if steady:
            if not self.left:
                self.left = self.order.sample(self.modes, len(self.modes))
                self.rounds.append({})
            self._set(self.left.pop())
        self._graphs(processor.inputs_and_outputs)
        self.timed = steady
        self.last = time.perf_counter(), time.thread_time()

    def _graphs(self, inputs) -> None:
        """What is captured has a mode's hooks and checks in it: a set of graphs for each, which go
        with the tensors."""
        if "guard" in self.modes:
            self.buffers.mode = "clamp" if self.mode == "guard" else None
        kind = "plain" if self.mode in CUPTI_LEVELS else self.mode
        sets = vars(inputs).setdefault("of_modes", {})
        if kind not in sets:
            sets[kind] = type(inputs.graphs)() if sets else inputs.graphs
        inputs.graphs = sets[kind]

    def whole(self) -> List[Dict[str, List[float]]]:
        return [one for one in self.rounds if len(one) == len(self.modes)]


def watch(turns: Turns) -> None:
    from transformers.generation.continuous_batching.continuous_api import ContinuousBatchProcessor
    original = ContinuousBatchProcessor.prepare_next_batch

    def prepare_next_batch(processor):
        turns.step(processor)
        return original(processor)

    ContinuousBatchProcessor.prepare_next_batch = prepare_next_batch


def worker(args: argparse.Namespace) -> None:
    """A pass for each line of stdin, which has its modes and how it decodes, and how many tokens;
    its rounds are a line of stdout."""
    answers, sys.stdout = sys.stdout, sys.stderr
    from transformers import ContinuousBatchingConfig, GenerationConfig
    import transformers.generation.continuous_batching  # noqa: F401
    import pagetape
    model, turns = build(args), Turns(hooked(), pagetape.active().transformers.buffers)
    watch(turns)
    prompts = [[1 + (i * 31 + j * 7) % 31000 for j in range(args.prompt - i % 64)]
               for i in range(args.requests)]
    groups = 6 if args.sliding else 1
    blocks = groups * args.requests * (-(-(args.prompt + args.tokens) // 16) + 2)
    for seed, line in enumerate(sys.stdin):
        asked = json.loads(line)
        generation = GenerationConfig(max_new_tokens=asked["tokens"], do_sample=False,
                                      eos_token_id=-1, pad_token_id=0)
        batching = ContinuousBatchingConfig(block_size=16, num_blocks=blocks,
                                            max_batch_tokens=1024, use_async_batching=False,
                                            use_cuda_graph=asked["decode"] == "graphs")
        gc.collect()
        gc.freeze()  # A later collection looks at what this pass made, not at all of torch.
        turns.begin(asked["modes"], len(prompts), seed)
        done = model.generate_batch(inputs=prompts, generation_config=generation,
                                    continuous_batching_config=batching, progress_bar=False,
                                    warmup=False)
        wrong = [one.error for one in done.values() if one.error]
        if wrong or len(done) != len(prompts) or not turns.whole():
            sys.exit(f"a pass failed: {wrong[:1]}, {len(turns.whole())} whole rounds")
        sums = sum(sum(one.generated_tokens) for one in done.values())
        print(json.dumps({"rounds": turns.whole(), "sums": sums}), file=answers, flush=True)


# --- who starts them


def start(args: argparse.Namespace, name: str, cupti: str) -> subprocess.Popen:
    command = [args.pagetape, "record", "--cupti", cupti or "none", "-o",
               os.path.join(args.out, name)]
    if args.python:
        command += ["--python", args.python]
    if args.guard and not cupti:
        command += ["--guard", "clamp"]
    command += ["--", sys.executable, "-W", "ignore", os.path.abspath(__file__), "--worker",
                *sys.argv[1:]]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


class Process:
    """One of them, and what is asked of it."""

    def __init__(self, args: argparse.Namespace, name: str, modes: List[str], cupti: str) -> None:
        self.modes, self._whole = modes, args.whole
        self._process = start(args, name, cupti)

    def turn(self, modes: List[str], decode: str, tokens: int) -> Dict:
        asked = {"modes": modes, "decode": decode, "tokens": tokens}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"a process ended early, with status {self._process.wait()}")
        return json.loads(line)

    def rounds(self, decode: str, tokens: int, order: random.Random, answers: set) -> List[Dict]:
        """Of one pass, or of one of each mode, which are one round: the medians of its steps."""
        if not self._whole:
            done = self.turn(self.modes, decode, tokens)
            answers.add(done["sums"])
            return done["rounds"]
        found = {}
        for mode in order.sample(self.modes, len(self.modes)):
            done = self.turn([mode], decode, tokens)
            answers.add(done["sums"])
            found[mode] = [statistics.median(step[mode][clock] for step in done["rounds"])
                           for clock in range(2)]
        return [found]

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def shown(mean: float, half: float) -> str:
    low, high = math.exp(mean - half), math.exp(mean + half)
    return f"{math.exp(mean):.4f} (95%: {low:.4f} to {high:.4f})"


def student(logs: List[float]) -> str:
    """Geometric mean of ratios and its 95% interval."""
    mean, n = statistics.mean(logs), len(logs)
    if n < 2:
        return f"{math.exp(mean):.4f}"
    return shown(mean, STUDENT.get(n - 1, 2.1) * statistics.stdev(logs) / math.sqrt(n))


def pseudomedian(logs: List[float]) -> Tuple[float, float, float]:
    """Hodges and Lehmann's, and its 95% interval: the means of pairs, an entry with itself too,
    that the signed-rank statistic's 2.5% and 97.5% points (normal approximation) leave."""
    n = len(logs)
    means = sorted((a + b) / 2 for i, a in enumerate(logs) for b in logs[i:])
    spread = 1.96 * math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    begin = max(0, math.floor(n * (n + 1) / 4 - spread))
    return statistics.median(means), means[begin], means[len(means) - 1 - begin]


def ratios(rounds: List[Dict[str, List[float]]], mode: str, clock: int) -> List[float]:
    return [math.log(one[mode][clock] / one["plain"][clock]) for one in rounds]


def report(passes: List[List[Dict[str, List[float]]]], mode: str) -> None:
    rounds = [one for each in passes for one in each]
    for clock, name in enumerate((WALL, THREAD)):
        middle, low, high = (math.exp(one) for one in pseudomedian(ratios(rounds, mode, clock)))
        print(f"{mode}, of plain, {name}: {middle:.4f} (95%: {low:.4f} to {high:.4f}), "
              f"{len(rounds)} rounds; by {len(passes)} passes "
              + student([pseudomedian(ratios(one, mode, clock))[0] for one in passes]))


def of_rounds(rounds: List[Dict[str, List[float]]], mode: str) -> float:
    return statistics.median(one[mode][0] for one in rounds)


def main() -> None:
    args = arguments()
    if args.worker:
        return worker(args)
    processes: Dict[str, Process] = {}
    if not args.cupti_alone:
        processes["hooks"] = Process(args, "hooks",
                                     ["plain", "hooks"] + (["guard"] if args.guard else []), "")
    if args.cupti:
        processes["CUPTI"] = Process(args, "cupti", [mode for mode in CUPTI_LEVELS if args.idle or
                                                     mode != "idle"], args.cupti)
    parts = [(name, decode) for name in processes for decode in args.decode]
    order, passes, answers = random.Random(0), [], {decode: set() for decode in args.decode}
    end = math.inf
    for i in range(args.passes + 1):
        if time.monotonic() > end:
            break
        found = {}
        for name, decode in order.sample(parts, len(parts)):
            found[name, decode] = processes[name].rounds(
                decode, args.tokens if i else max(args.tokens // 8, 8), order,
                answers[decode] if i else set())
        if i == 0:
            end = time.monotonic() + args.seconds
            continue
        passes.append(found)
        print(json.dumps({" ".join((*part, mode)): round(of_rounds(rounds, mode), 3)
                          for part, rounds in found.items() for mode in rounds[0]}), flush=True)
    for process in processes.values():
        process.close()
    for decode, sums in answers.items():
        print(f"{decode}: answers are {'all the same' if len(sums) == 1 else sums}")
    for name, decode in parts:
        print(f"\nThe process with {name}, {decode}:")
        for mode in processes[name].modes:
            step = statistics.median(of_rounds(one[name, decode], mode) for one in passes)
            print(f"{mode}: {step:.3f} ms a step, which is the time of each request's token; "
                  f"{args.requests / step * 1e3:.0f} tokens a second")
        for mode in processes[name].modes[1:]:
            report([one[name, decode] for one in passes], mode)
    return None


if __name__ == "__main__":
    main()
