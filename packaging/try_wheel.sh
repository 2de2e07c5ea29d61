#!/usr/bin/env bash
# try_wheel.sh WHEEL: install it in a fresh environment that has no cargo, and use it.
set -euo pipefail
wheel=$(realpath "$1")
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
python3 -m venv venv
# Nothing of Rust on the path: what the wheel lacks cannot be built behind our back.
export PATH="$place/venv/bin:/usr/bin:/bin"
! command -v cargo || { echo "cargo is on the path: this proves nothing"; exit 1; }
pip install -q --disable-pip-version-check "$wheel"
medgrpo --version
printf '{"completion": "<think>x</think><answer>yes</answer>", "answer": "yes"}\n' > answers.jsonl
medgrpo score answers.jsonl --rewards answer_match --explain
medgrpo estimate-time --gpu A100
medgrpo presets list >/dev/null
echo "the wheel works without Rust"
