#!/usr/bin/env bash
# Runs every fuzz target, as many at once as there are processors.
#
#   run.sh [SECONDS] [FINDINGS]   builds them (nightly, cargo-fuzz) and runs each for so long; default 60
#   run.sh --pack FOLDER          builds, and copies binaries, corpora and this script to FOLDER:
#                                 FOLDER/run.sh then needs neither compiler nor network
#
# FINDINGS gets a log a target, and the input of each failure. Ends with 1 if there is one.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
built="$here/target/x86_64-unknown-linux-gnu/release"

build() {
  (cd "$here/.." && cargo +nightly fuzz build >&2)
}

if [ "${1:-}" = --pack ]; then
  build
  mkdir -p "$2/bin"
  for source in "$here"/fuzz_targets/*.rs; do
    cp "$built/$(basename "$source" .rs)" "$2/bin/"
  done
  cp -r "$here/corpus" "$here/run.sh" "$2/"
  exit
fi

export seconds=${1:-60} findings=${2:-$here/artifacts} bin="$here/bin" corpus="$here/corpus"
if [ ! -d "$bin" ]; then
  build
  bin=$built
fi
mkdir -p "$findings"

fuzz() { # TARGET
  local grown log="$findings/$1.log" seeds=()
  grown=$(mktemp -d) # new inputs go here, not into the repository
  [ -d "$corpus/$1" ] && seeds=("$corpus/$1")
  if "$bin/$1" -max_total_time="$seconds" -len_control=0 -timeout=60 -rss_limit_mb=4096 -artifact_prefix="$findings/$1-" \
    -print_final_stats=1 "$grown" "${seeds[@]}" >"$log" 2>&1; then
    echo "$1: nothing found in $(grep -oP 'Done \K.*' "$log")"
  else
    echo "$1: FAILED, see $log"
    return 1
  fi
  rm -rf "$grown"
}
export -f fuzz
if [ "$bin" = "$built" ]; then
  targets=$(basename -s .rs -a "$here"/fuzz_targets/*.rs)
else
  targets=$(ls "$bin")
fi
xargs -P "$(nproc)" -I TARGET bash -c 'fuzz TARGET' <<<"$targets"
