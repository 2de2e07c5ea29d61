#!/bin/sh
# From a base model to a merged one: GRPO (after its SFT stage, where the preset has one), pairs from its own completions,
# DPO, both measured on the test split, one page that compares them, and a plain model folder.
#
#   examples/flow.sh FOLDER                                          the demo: nothing is downloaded
#   examples/flow.sh FOLDER --model MODEL --data DATA --preset balanced
#
# DPO_OPTIONS are more options of the DPO run, EVAL_LIMIT asks only so many test questions.
# Run it again to go on where it stopped: every line skips what is done. FOLDER/report/report.html is the report.
set -eu
folder=$1
shift
run=${MEDGRPO:-medgrpo}

$run train "$@" --set tuning.method=lora --resume auto --output "$folder/grpo"
[ -e "$folder/pairs/card.json" ] || { rm -rf "$folder/pairs"; $run make-dpo "$folder/grpo" --output "$folder/pairs"; }
# shellcheck disable=SC2086
$run train --method dpo --model "$folder/grpo" --data "$folder/pairs" ${DPO_OPTIONS:-} --resume auto --output "$folder/dpo"
# The folder stands in medgrpo.json as it is seen from there.
data=$(${PYTHON:-python} -c 'import json, os.path as p, sys
place = p.expanduser(json.load(open(sys.argv[1]))["provenance"]["data"])
print(p.normpath(p.join(p.dirname(p.realpath(sys.argv[1])), place)))' "$folder"/grpo/final_lora/medgrpo.json)
for name in grpo dpo; do
    $run eval "$folder/$name" "$data" --output "$folder/eval-$name" ${EVAL_LIMIT:+--limit $EVAL_LIMIT}
done
$run compare "$folder/grpo" "$folder/dpo" --html --output "$folder/report" \
    --predictions "$folder/eval-grpo" --predictions "$folder/eval-dpo"
[ -e "$folder/merged/config.json" ] || $run merge-lora "$folder/dpo" --output "$folder/merged"
