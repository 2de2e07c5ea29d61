#!/usr/bin/env bash
# What the tests alone cannot show: no undefined behaviour, no byte read or written outside an array. Needs nightly with
# miri and rust-src; ends with 1 on a finding.
#
#   trust.sh miri   the code of masks and boxes under Miri, plain Rust and SSE2 (minutes)
#   trust.sh asan   the crate's tests at every instruction set of this processor under AddressSanitizer
#   trust.sh        both
set -euo pipefail
cd "$(dirname "$0")"

miri() {
  # proptest asks for the working directory, which Miri's isolation forbids; interpreted, 256 cases would take hours.
  PROPTEST_CASES=8 MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --lib -- mask_tests boxes::assignment boxes::matching boxes::precision
}

asan() {
  local host
  host=$(rustc +nightly -vV | sed -n 's/^host: //p')
  RUSTFLAGS=-Zsanitizer=address cargo +nightly test --release --target "$host" --lib
}

case ${1:-all} in
  miri) miri ;;
  asan) asan ;;
  all) miri && asan ;;
  *) sed -n '2,8s/^# \{0,1\}//p' "$0" && exit 2 ;;
esac
