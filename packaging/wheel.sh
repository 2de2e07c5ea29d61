#!/usr/bin/env bash
# wheel.sh [TARGET]: the wheel of this checkout in dist/, for manylinux2014, linked by zig (pip package ziglang).
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:-x86_64-unknown-linux-gnu}
python -m pip --version >/dev/null 2>&1 && python -m pip install -q "maturin[zig]>=1.14,<2"
maturin build --release --zig --compatibility manylinux2014 --target "$target" --out dist
