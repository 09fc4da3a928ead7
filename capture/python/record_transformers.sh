#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Records continuous batching with the transformers release that engines_env.sh installed:
#   record_transformers.sh ENVDIR OUT.jsonl|OUT.ptape [cell|freed|table|read|write]
# $PAGETAPE_DRIVE names another drive than transformers_cb.py.
# The content is the same in every run: no timestamps and no addresses. On the CPU, unless
# PAGETAPE_ON_GPU is 1.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:?ENVDIR}
out=${2:?OUT}
export PAGETAPE_TIMESTAMPS=0 PAGETAPE_ADDRESSES=0 PAGETAPE_OUT="$out" PAGETAPE_PLANT="${3:-}"
export PYTHONPATH="$here:$here/drives" PAGETAPE_STRICT=1
[ "${PAGETAPE_ON_GPU:-}" = 1 ] || export CUDA_VISIBLE_DEVICES=""
drive="$here/drives/${PAGETAPE_DRIVE:-transformers_cb.py}"
exec "$dir/venv/bin/python" -W ignore -m pagetape run "$drive"
