#!/usr/bin/env bash
# The whole table on VQA-RAD: base model, SFT, GRPO, DPO, each with 95 % intervals clustered by image.
#
#   bash benchmarks/vqa_rad_3b.sh VQA_RAD [OUT]
#
# VQA_RAD: the folder with the question files and the pictures. OUT: vqa_rad_3b by default; what is finished there is
# not done again, so that the same line goes on after an interruption.
#
# No weights could be downloaded where medgrpo was developed. This script is the first thing to run with a GPU: its
# table is the figure that we could not measure. It was tried whole on a demo-size model only, with generated questions (tests/docs/test_docs.py).
#
# In the environment:
#   MODEL=Qwen/Qwen2.5-VL-3B-Instruct   folder or hub name
#   PRESET=verify                       verify: 1 epoch; balanced: 3; small-24gb: for one 24 GB GPU
#   SIZE=512                            longest side of the pictures, pixels
#   MORE=""                             further words for every `medgrpo train`, such as --vllm colocate
#   LIMIT=""                            further words for every `medgrpo eval`, such as --limit 100
set -euo pipefail
source=${1:?usage: vqa_rad_3b.sh VQA_RAD [OUT]}
out=${2:-vqa_rad_3b}
model=${MODEL:-Qwen/Qwen2.5-VL-3B-Instruct}
preset=${PRESET:-verify}
read -ra more <<<"${MORE:-}"
read -ra limit <<<"${LIMIT:-}"
say() { printf '\n== %s\n' "$*"; }
done_before() { [ -f "$1" ] && say "done before: $1"; }
finished() { grep -qs '"finished": true' "$1/training_info.json" && say "done before: $1"; }

mkdir -p "$out"
say "data: the official split of VQA-RAD, $source"
done_before "$out/data/dataset.json" ||
  medgrpo preprocess "$source" "$out/data" --size "${SIZE:-512}" --split official --on-bad-row skip --conflicts multi

train() { # train NAME WORDS…
  local name=$1
  shift
  finished "$out/$name" || medgrpo train --output "$out/$name" --resume auto "${more[@]}" "$@"
}
measure() { # measure NAME MODEL
  done_before "$out/eval/$1/metrics.json" ||
    medgrpo eval "$2" "$out/data" --counterfactual blank --output "$out/eval/$1" "${limit[@]}"
}

say "how long this will take"
medgrpo estimate-time --preset "$preset" --data "$out/data" || true

say "base: $model"
measure base "$model"
say "SFT: one epoch on the answers; the model's own thinking is left alone"
train sft --preset "$preset" --method sft --model "$model" --data "$out/data" --set data.reasoning=free
measure sft "$out/sft"
say "GRPO from the SFT weights"
train grpo --preset "$preset" --method grpo --model "$out/sft" --data "$out/data"
measure grpo "$out/grpo"
say "DPO on pairs from the completions that GRPO stored"
done_before "$out/pairs/dataset.json" || medgrpo make-dpo "$out/grpo" --output "$out/pairs"
train dpo --preset "$preset" --method dpo --model "$out/grpo" --data "$out/pairs"
measure dpo "$out/dpo"

say "the table"
medgrpo compare "$out/eval/base" "$out/eval/sft" "$out/eval/grpo" "$out/eval/dpo" \
  --baseline base --html --output "$out/comparison" | tee "$out/table.txt"
say "$out/table.txt, $out/comparison/report.html; please send both to the project, with the output of: medgrpo doctor --json"
