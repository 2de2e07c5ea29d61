#!/bin/sh
# From a base model to a merged one: SFT, GRPO from its weights, pairs from GRPO's own completions, DPO, all three measured on
# the test split, one page that compares them, and a plain model folder.
#
#   examples/flow.sh FOLDER                                          the demo: nothing is downloaded
#   examples/flow.sh FOLDER --model MODEL --data DATA --preset balanced
#
# Words after FOLDER go to SFT and to GRPO; SFT_OPTIONS, GRPO_OPTIONS and DPO_OPTIONS are more options of one of the runs,
# EVAL_LIMIT asks only so many test questions.
# Run it again, with the same words, to go on where it stopped: every line skips what is done.
# FOLDER/report/report.html is the report.
set -eu
folder=$1
shift
run=${MEDGRPO:-medgrpo}
case " $* " in
*" --model"*) sft="--set training.num_train_epochs=1 --set stages.sft.enabled=false" grpo="" dpo="" ;;
*) # The demo: its half a million weights start from nothing and are trained whole by SFT; GRPO and DPO train an adapter of them.
    sft="--set training.learning_rate=3e-3"
    grpo="--set training.max_steps=100 --set training.prompts_per_step=16 --set training.learning_rate=3e-3"
    grpo="$grpo --set training.per_device_train_batch_size=128 --set rollout.max_completion_length=40 --set validation.steps=0"
    dpo="--set training.num_train_epochs=1"
    ;;
esac

# shellcheck disable=SC2086
$run train "$@" --method sft $sft ${SFT_OPTIONS:-} --resume auto --output "$folder/sft"
# The data stand in medgrpo.json as they are seen from there.
data=$(${PYTHON:-python} -c 'import glob, json, os.path as p, sys
file = glob.glob(p.join(glob.escape(sys.argv[1]), "final_*", "medgrpo.json"))[0]
place = p.expanduser(json.load(open(file, encoding="utf-8"))["provenance"]["data"])
print(p.normpath(p.join(p.dirname(p.realpath(file)), place)))' "$folder/sft")
# shellcheck disable=SC2086
$run train "$@" --model "$folder/sft" --data "$data" --set tuning.method=lora --set stages.sft.enabled=false $grpo ${GRPO_OPTIONS:-} \
    --resume auto --output "$folder/grpo"
[ -e "$folder/pairs/card.json" ] || { rm -rf "$folder/pairs"; $run make-dpo "$folder/grpo" --output "$folder/pairs"; }
# shellcheck disable=SC2086
$run train --method dpo --model "$folder/grpo" --data "$folder/pairs" $dpo ${DPO_OPTIONS:-} --resume auto --output "$folder/dpo"
for name in sft grpo dpo; do
    $run eval "$folder/$name" "$data" --output "$folder/eval-$name" ${EVAL_LIMIT:+--limit $EVAL_LIMIT}
done
$run compare "$folder/sft" "$folder/grpo" "$folder/dpo" --html --output "$folder/report" \
    --predictions "$folder/eval-sft" --predictions "$folder/eval-grpo" --predictions "$folder/eval-dpo"
[ -e "$folder/merged/config.json" ] || $run merge-lora "$folder/dpo" --output "$folder/merged"
