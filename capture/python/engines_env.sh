#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs the pinned engine releases and what they share under DIR:
#   DIR/venv             shared packages, one torch for all of them
#   DIR/sglang-defect    DIR/sglang-fixed    DIR/vllm    one release each, put on PYTHONPATH
# Exit status 75: the packages cannot be had on this machine (no index reached, another Python).
# DIR/NAME.stamp holds the hash of a part's requirements: with the same ones it is left alone.
# DIR/NAME.compiled is touched when its bytecode is there: who sets PYTHONDONTWRITEBYTECODE would
# have each process compile what it imports, which is half of a short test's time.
# A venv that does not load any more, as after a disk was cleared, is made anew, once.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:?usage: engines_env.sh DIR}
python=${PAGETAPE_PYTHON:-python3}
mkdir -p "$dir"
# Another run may be installing: the second one waits and then finds the stamps.
exec 9>"$dir/lock"
flock 9
begin=$SECONDS
unavailable=75 # Where something was there, and is lost, it is a failure.
made=()

# wanted NAME REQUIREMENTS: whether that part has to be installed; what there was of it is removed.
wanted() {
  want=$(sha256sum "$here/$2" | cut -d' ' -f1)
  [ "$(cat "$dir/$1.stamp" 2>/dev/null)" = "$want" ] && return 1
  rm -rf "${dir:?}/$1" "$dir/$1.stamp" "$dir/$1.compiled"
}

# install NAME REQUIREMENTS [options of pip]
install() {
  "$dir/venv/bin/python" -m pip install --quiet --no-deps --require-hashes --only-binary :all: \
    --no-compile --no-cache-dir --disable-pip-version-check -r "$here/$2" "${@:3}" || {
    echo "engines: the pinned packages cannot be installed here" >&2
    exit "$unavailable"
  }
  echo "$want" >"$dir/$1.stamp.new"
  mv "$dir/$1.stamp.new" "$dir/$1.stamp"
  made+=("$dir/$1")
}

install_venv() {
  "$python" -m venv "$dir/venv" || {
    echo "engines: $python cannot make a virtual environment (Debian: python3-venv)" >&2
    exit "$unavailable"
  }
  install venv requirements-engines.txt
}

# Files that are for other Pythons do not compile, and nobody imports them here: of those nothing is
# said, of what ended it early something is, and then it is tried again another time.
compile() {
  [ -e "$dir/$1.compiled" ] && return
  "$dir/venv/bin/python" -W ignore -m compileall -qq -j 0 "$dir/$1" 2>"$dir/compile.log" || true
  [ -s "$dir/compile.log" ] || touch "$dir/$1.compiled"
}

# torch loads the libraries of most other packages. 1 is the status of a Python that cannot.
loads() {
  "$dir/venv/bin/python" -I -c 'import torch, triton, transformers' 2>"$dir/loads.log"
}

does_not_load() {
  local status=0
  loads || status=$?
  [ $status -eq 1 ]
}

broken() {
  cat "$dir/loads.log" >&2
  echo "engines: what was installed does not load" >&2
  exit 1
}

if wanted venv requirements-engines.txt; then
  install_venv
elif does_not_load; then
  [ ! -e "$dir/venv/never-loaded" ] || broken
  echo "engines: what is in $dir/venv does not load, and is installed anew: \
$(tail -n 1 "$dir/loads.log")" >&2
  rm "$dir/venv.stamp"
  unavailable=1
  wanted venv requirements-engines.txt
  install_venv
fi
for release in sglang-defect sglang-fixed vllm; do
  if wanted "$release" "requirements-$release.txt"; then
    install "$release" "requirements-$release.txt" --target "$dir/$release"
  fi
done
if [ ${#made[@]} -gt 0 ] && ! loads; then
  touch "$dir/venv/never-loaded"
  broken
fi
trap 'exit 130' INT # Which Python takes for an error as others are.
for part in venv sglang-defect sglang-fixed vllm; do
  compile "$part"
done
if [ ${#made[@]} -eq 0 ]; then
  echo "engines: $dir is up to date ($(du -sh "$dir" | cut -f1))"
else
  echo "engines: installed in $((SECONDS - begin)) s: $(du -sh "$dir" | cut -f1) in $dir"
  du -sh "${made[@]}"
fi
