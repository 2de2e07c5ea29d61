#!/usr/bin/env bash
# What the tests alone cannot show: no undefined behaviour, no byte read or written outside an array. Needs nightly with
# miri and rust-src; ends with 1 on a finding.
#
#   trust.sh miri   the code of masks and boxes under Miri, plain Rust and SSE2 (minutes)
#   trust.sh asan   the crate's tests at every instruction set of this processor under AddressSanitizer
#   trust.sh arm    the crate's tests compiled for 64-bit ARM with NEON, under qemu (packages qemu-user and
#                   gcc-aarch64-linux-gnu, target aarch64-unknown-linux-gnu)
#   trust.sh        miri and asan
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

arm() {
  CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
    CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu" \
    cargo test --release --target aarch64-unknown-linux-gnu --lib
}

case ${1:-all} in
  miri) miri ;;
  asan) asan ;;
  arm) arm ;;
  all) miri && asan ;;
  *) sed -n '2,10s/^# \{0,1\}//p' "$0" && exit 2 ;;
esac
