#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Records the drive with one of the releases that engines_env.sh installed:
#   record_sglang.sh ENVDIR defect|fixed OUT.jsonl|OUT.ptape [BACKEND [stale|row|outside]]
# BACKEND is aiter, triton or trtllm_mha. With $PAGETAPE_ON_GPU its tensors are on a GPU.
# $PAGETAPE_DRIVE names another drive; sglang_fa3_flashinfer.py's BACKEND is fa3 or flashinfer,
# sglang_eagle.py's each of them but aiter, sglang_frozen_graphs.py's triton.
# The content is the same in every run: no timestamps and no addresses.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:?ENVDIR}
release=${2:?defect or fixed}
out=${3:?OUT}
export PAGETAPE_TIMESTAMPS=0 PAGETAPE_ADDRESSES=0 PAGETAPE_OUT="$out"
export PAGETAPE_BACKEND="${4:-aiter}" PAGETAPE_PLANT="${5:-}"
export PYTHONPATH="$here:$here/drives:$dir/sglang-$release"
drive="$here/drives/${PAGETAPE_DRIVE:-sglang_frozen_kv_mtp.py}"
exec "$dir/venv/bin/python" -W ignore -m pagetape run "$drive"
