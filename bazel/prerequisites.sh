# SPDX-License-Identifier: Apache-2.0
# Sourced by ./test and ./demo: finds Bazel, and installs what the machine lacks.
# shellcheck shell=bash

# shellcheck disable=SC2034  # used where this is sourced

# Debian's own Bazel, whichever else is in PATH: the build is written for version 4.2.
export BAZEL="${BAZEL:-/usr/bin/bazel}"

# Bazel's link to its own working folder: one that another user or another output folder left behind
# would be taken for sources. .bazelignore knows just the usual names of a checkout.
find . -maxdepth 1 -type l -name "bazel-${PWD##*/}" -delete

# What building needs, and what testing needs besides.
BUILD_PACKAGES=(
  bazel-bootstrap g++ python3
  capnproto libcapnp-dev libcli11-dev libedit-dev libsqlite3-dev libxxhash-dev libzstd-dev
  nlohmann-json3-dev
  fonts-dejavu-core libegl-dev libgl-dev libgl1-mesa-dri libglfw3-dev libimgui-dev libstb-dev
)
TEST_PACKAGES=(libbenchmark-dev libgmock-dev libgtest-dev binutils clang-format-14)
LINT_PACKAGES=(clang-tidy-14)
ENGINE_PACKAGES=(python3-venv)

# install_missing PACKAGE...: with apt, as root or by sudo; nothing where all are there.
install_missing() {
  local missing=() package as_root=()
  if ! command -v apt-get > /dev/null; then
    command -v "$BAZEL" > /dev/null && return
    echo "This machine has no apt. On Debian 12 or alike these would be installed: $*" >&2
    return 1
  fi
  for package in "$@"; do
    # shellcheck disable=SC2016  # dpkg's own variable
    dpkg-query -W -f='${db:Status-Status}\n' "$package" 2> /dev/null | grep -qx installed ||
      missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo > /dev/null; then
      echo "Please have an administrator run: apt-get install ${missing[*]}" >&2
      return 1
    fi
    as_root=(sudo)
  fi
  echo "Installing what this machine lacks (about a minute, once): ${missing[*]}"
  local log
  log=$(mktemp)
  # No recommended packages: they would bring a desktop's worth of documentation.
  if ! { "${as_root[@]}" apt-get update &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
      apt-get install --yes --no-install-recommends "${missing[@]}"; } > "$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "apt could not install them (all it said: $log)" >&2
    return 1
  fi
  rm -f "$log"
}

# Where the engines' Python environment is, or would be. It is none of the system's.
ENGINES_FOLDER="${PAGETAPE_ENGINES:-$HOME/.cache/pagetape/engines}"

# install_engines: fills $ENGINES_FOLDER (at once if it is full already). Its status is the
# script's: 75 where this machine cannot have the engines, as for want of a network.
install_engines() {
  if [ ! -e capture/python/engines_env.sh ]; then
    echo "there is no capture/python/engines_env.sh" >&2
    return 75
  fi
  install_missing "${ENGINE_PACKAGES[@]}" || return 75
  bash capture/python/engines_env.sh "$ENGINES_FOLDER"
}
