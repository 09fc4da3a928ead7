#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""PyTorch's attention on the shapes of attend_bench: medians of 33 runs, by device events. K and V
lie contiguous but where it says `pages`: there they are gathered first, as a paged cache needs."""
import statistics
import sys
import warnings

try:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.attention.bias import causal_lower_right
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention
except ImportError as error:
    sys.exit(f"torch_attention: {error}")

RUNS, WARM_UP = 33, 5
PAGE = 16
# Requests, tokens, queries, K/V heads, query heads, head dimension.
SHAPES = [
    (64, 8192, 1, 8, 32, 128),
    (64, 8192, 4, 8, 32, 128),
    (4, 4096, 2048, 8, 32, 128),
    (4, 4096, 2048, 8, 32, 256),
]


def median_ms(run):
    times = []
    for i in range(RUNS + WARM_UP):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        if i >= WARM_UP:
            times.append(begin.elapsed_time(end))
    return statistics.median(times)


class Shape:
    def __init__(self, lanes, tokens, queries, kv_heads, heads, dim):
        self.name = f"{lanes} x {tokens}, q {queries}, {kv_heads} x {dim}"
        self.repeat = heads // kv_heads
        self.tokens, self.queries, self.causal = tokens, queries, queries > 1
        size = lanes, kv_heads, tokens, dim
        self.k, self.v = (torch.randn(size, device="cuda", dtype=torch.bfloat16) for _ in "kv")
        self.q = torch.randn(lanes, heads, queries, dim, device="cuda", dtype=torch.bfloat16)
        self.bytes = 2 * 2 * self.k.numel()
        live = sum(tokens - queries + i + 1 for i in range(queries))
        self.flops = 4 * lanes * heads * dim * live

    def attend(self, q, k, v, backends):
        mask = causal_lower_right(self.queries, self.tokens) if self.causal else None
        with sdpa_kernel(backends):
            return torch.nn.functional.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, enable_gqa=k.shape[1] != q.shape[1]
            )

    def report(self, what, run):
        try:
            ms = median_ms(run)
        except RuntimeError as error:
            print(f"{self.name:26} {what:36} no: {str(error).splitlines()[0][:60]}")
            return
        rates = f"{self.bytes / ms / 1e6:6.0f} GB/s {self.flops / ms / 1e9:6.1f} TFLOP/s"
        print(f"{self.name:26} {what:36} {ms:8.4f} ms {rates}", flush=True)

    def compare(self):
        for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION):
            name = backend.name.split("_")[0].lower()
            self.report(
                f"bf16, SDPA {name}", lambda: self.attend(self.q, self.k, self.v, [backend])
            )
        if self.queries > 8:
            self.flex()
        else:
            self.pages()
        self.fp32()

    def flex(self):
        before = self.tokens - self.queries
        mask = create_block_mask(
            lambda b, h, i, j: i + before >= j, None, None, self.queries, self.tokens
        )
        run = torch.compile(flex_attention)
        self.report(
            "bf16, flex_attention",
            lambda: run(self.q, self.k, self.v, block_mask=mask, enable_gqa=True),
        )

    def pages(self):
        lanes, heads, tokens, dim = self.k.shape
        pools = [
            x.transpose(1, 2).reshape(lanes * tokens // PAGE, PAGE, heads, dim).contiguous()
            for x in (self.k, self.v)
        ]
        table = torch.randperm(lanes * tokens // PAGE, device="cuda")

        def run():
            k, v = (p[table].view(lanes, tokens, heads, dim).transpose(1, 2) for p in pools)
            return self.attend(self.q, k, v, [SDPBackend.FLASH_ATTENTION])

        self.report("bf16, pages gathered, SDPA flash", run)

    def fp32(self):
        k, v = (x.float().repeat_interleave(self.repeat, 1) for x in (self.k, self.v))
        q = self.q.float()
        self.report(
            "fp32, SDPA, heads repeated",
            lambda: self.attend(q, k, v, [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]),
        )


def main():
    if not torch.cuda.is_available():
        sys.exit("torch_attention: no GPU can be used")
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    print(f"PyTorch {torch.__version__} on {torch.cuda.get_device_name()}")
    for size in SHAPES:
        Shape(*size).compare()
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
