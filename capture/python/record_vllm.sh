#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Records vLLM's engine with the release that engines_env.sh installed:
#   record_vllm.sh ENVDIR OUT.jsonl|OUT.ptape [WHAT]
# WHAT is async, plain, draft, group, cell, slot, pad, moved, freed, twice, table
# or outside; see drives/vllm_v1.py.
# On the CPU, unless PAGETAPE_ON_GPU is 1; by model runner V1, unless PAGETAPE_RUNNER is 2; without
# CUDA graphs, unless PAGETAPE_GRAPH is 1.
# The content is the same in every run: no timestamps, no addresses, keys of digests that are known.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:?ENVDIR}
out=${2:?OUT}
export PAGETAPE_TIMESTAMPS=0 PAGETAPE_ADDRESSES=0 PAGETAPE_OUT="$out" PAGETAPE_PLANT="${3:-}"
export PAGETAPE_DIGEST_KEY=drive PYTHONHASHSEED=0
export PYTHONPATH="$here:$here/drives:$dir/vllm" PAGETAPE_STRICT=1
[ "${PAGETAPE_ON_GPU:-}" = 1 ] || export CUDA_VISIBLE_DEVICES=""
exec "$dir/venv/bin/python" -W ignore -m pagetape run "$here/drives/vllm_v1.py"
