#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# dist.sh OUT.tar.gz FILE…: the files side by side in pagetape/, Python's below python/, pages below
# docs/, and the libraries that libpagetape_capture.so is linked with, other than the C and C++ run
# time. The same inputs give the same archive.
set -euo pipefail
out=$1
shift
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/pagetape"
for file in "$@"; do
  case $file in
    */capture/python/* | capture/python/*) to=python/${file##*capture/python/} ;;
    docs/*) to=$file ;;
    *) to=${file##*/} ;;
  esac
  install -D -m 0644 "$file" "$folder/pagetape/$to"
done
chmod 0755 "$folder/pagetape/pagetape"
ldd "$folder/pagetape/libpagetape_capture.so" | awk '$3 ~ /lib(capnp|kj|zstd)/ {print $3}' |
  xargs -r install -m 0644 -t "$folder/pagetape"
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$folder" -c pagetape |
  gzip -n -9 > "$out"
