#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the pinned SGLang releases and what they share under DIR:
#   DIR/venv             shared packages, one torch for both releases
#   DIR/sglang-defect    DIR/sglang-fixed    one release each, put on PYTHONPATH
# Exit status 75: the packages cannot be had on this machine (no index reached, another Python).
# A stamp holds the hash of the requirement files: with the same files it does nothing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:?usage: engines_env.sh DIR}
python=${PAGETAPE_PYTHON:-python3}
files=("$here/requirements-engines.txt" "$here/requirements-sglang-defect.txt"
       "$here/requirements-sglang-fixed.txt")
want=$(cat "${files[@]}" "$here/engines_env.sh" | sha256sum | cut -d' ' -f1)
if [ -f "$dir/stamp" ] && [ "$(cat "$dir/stamp")" = "$want" ]; then
  echo "engines: $dir is up to date ($(du -sh "$dir" | cut -f1))"
  exit 0
fi
begin=$SECONDS
mkdir -p "$dir"
# Another run may be installing: the second one waits and then finds the stamp.
exec 9>"$dir/lock"
flock 9
if [ -f "$dir/stamp" ] && [ "$(cat "$dir/stamp")" = "$want" ]; then exit 0; fi
rm -rf "$dir/venv" "$dir/sglang-defect" "$dir/sglang-fixed" "$dir/stamp"
"$python" -m venv "$dir/venv"
pip=("$dir/venv/bin/python" -m pip install --quiet --no-deps --require-hashes
     --only-binary :all: --no-compile --no-cache-dir --disable-pip-version-check)
not_here() {
  echo "engines: the pinned packages cannot be installed here" >&2
  exit 75
}
"${pip[@]}" -r "${files[0]}" || not_here
"${pip[@]}" --target "$dir/sglang-defect" -r "${files[1]}" || not_here
"${pip[@]}" --target "$dir/sglang-fixed" -r "${files[2]}" || not_here
echo "$want" >"$dir/stamp.new"
mv "$dir/stamp.new" "$dir/stamp"
echo "engines: installed in $((SECONDS - begin)) s: $(du -sh "$dir" | cut -f1) in $dir"
du -sh "$dir/venv" "$dir/sglang-defect" "$dir/sglang-fixed"
