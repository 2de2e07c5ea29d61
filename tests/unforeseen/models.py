"""Models, tokenizers, adapters, checkpoints: what lacks one file, contradicts itself, or names what must not be loaded."""

import json
import shutil
from pathlib import Path

from tests.planted import Artefacts
from tests.unforeseen.plants import Make, Plants, ask, changed, dry, evaluate, one_step, put

TOKENIZER = {
    "no end": {"eos_token": None}, "end is an object": {"eos_token": {"content": [], "lstrip": 3}}, "end is unknown": {"eos_token": "<never>"},
    "length is a text": {"model_max_length": "x"}, "length below zero": {"model_max_length": -1}, "length 1": {"model_max_length": 1},
    "class of another": {"tokenizer_class": "os.system"}, "class is a list": {"tokenizer_class": ["a", None]}, "template is a number": {"chat_template": 3},
    "templates without names": {"chat_template": [{"template": "x"}]}, "padding on both sides": {"padding_side": "both"},
    "tokens far away": {"added_tokens_decoder": {"99999999999": {"content": "a"}}}, "tokens no numbers": {"added_tokens_decoder": {"x": {"content": "a"}}},
    "token is a number": {"pad_token": 7}, "extra tokens": {"extra_special_tokens": {"a": 3}}, "extra tokens are a text": {"extra_special_tokens": "x"},
    "processor of another": {"processor_class": "subprocess.Popen"},
}  # fmt: skip
PROCESSOR = {
    "patch 0": {"patch_size": 0}, "patch below zero": {"patch_size": -14}, "patch 1e9": {"patch_size": 10**9}, "merge 0": {"merge_size": 0},
    "two means": {"image_mean": [0.5, 0.5]}, "means are texts": {"image_mean": ["a", "b", "c"]}, "deviation 0": {"image_std": [0, 0, 0]},
    "no pixels": {"size": {"shortest_edge": 0, "longest_edge": 0}}, "crossed": {"size": {"shortest_edge": 10**9, "longest_edge": 1}},
    "size is a text": {"size": "big"}, "size not a number": {"size": {"shortest_edge": float("nan"), "longest_edge": 1e300}},
    "rescale infinite": {"rescale_factor": float("inf")}, "resample 99": {"resample": 99}, "class": {"image_processor_type": "os.system"},
    "frames 0": {"temporal_patch_size": 0}, "auto_map": {"auto_map": {"AutoImageProcessor": "planted.Model"}},
}  # fmt: skip
CONFIG = {
    "no width": {"hidden_size": 0}, "no heads": {"num_attention_heads": 0}, "heads that do not divide": {"num_attention_heads": 7},
    "width a text": {"hidden_size": "128"}, "layers below zero": {"num_hidden_layers": -2}, "layers a list": {"num_hidden_layers": [2]},
    "rope of another": {"rope_parameters": {"rope_type": "warp"}}, "rope sections": {"rope_parameters": {"rope_type": "default", "mrope_section": [99, 1]}},
    "activation": {"hidden_act": "os.system"}, "eps": {"rms_norm_eps": float("nan")}, "vocabulary 0": {"vocab_size": 0},
    "layer types": {"layer_types": ["x", 3]}, "positions 0": {"max_position_embeddings": 0},
}  # fmt: skip
OUTER = {
    "no vision": {"vision_config": None}, "vision is a list": {"vision_config": [1]}, "image token far": {"image_token_id": 10**9},
    "image token a text": {"image_token_id": "x"}, "dtype": {"dtype": "float3"}, "dtype a list": {"torch_dtype": [1]}, "quantized": {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
    "quantized oddly": {"quantization_config": "x"}, "quantized by nobody": {"quantization_config": {"quant_method": "planted"}},
    "architecture": {"architectures": ["../../planted"]}, "architectures a number": {"architectures": 3}, "type": {"model_type": "../x"}, "type a list": {"model_type": []},
    "attention": {"_attn_implementation": "planted/kernel"}, "attention inside": {"attn_implementation_internal": "planted/kernel"},
    "older version": {"transformers_version": [9]}, "auto_map remote": {"auto_map": {"AutoModelForImageTextToText": "someone/repo--planted.Model"}},
    "experts": {"experts_implementation": "planted/kernel"}, "kernels": {"use_kernels": True, "kernel_config": {"kernel_mapping": {"RMSNorm": "someone/kernel:X"}}},
}  # fmt: skip
GENERATION = {
    "temperature": {"temperature": float("nan"), "do_sample": True}, "length 0": {"max_length": 0}, "ends are floats": {"eos_token_id": [1.5, None]},
    "bad words": {"bad_words_ids": [[]]}, "beams": {"num_beams": 10**6}, "custom": {"custom_generate": "someone/repo"}, "assistant": {"assistant_model": "x", "prompt_lookup_num_tokens": -1},
    "watermark": {"watermarking_config": {"greenlist_ratio": 9}}, "cache": {"cache_implementation": "planted"}, "no cache": {"use_cache": "maybe"},
    "stop": {"stop_strings": [3]}, "forced": {"forced_eos_token_id": 10**9}, "sequences": {"num_return_sequences": 10**5},
    "bias": {"sequence_bias": [[[], 1.0]]}, "suppressed": {"suppress_tokens": list(range(578))},
}  # fmt: skip
ADAPTER = {
    "rank 0": {"r": 0}, "rank below zero": {"r": -1}, "rank 1e9": {"r": 10**9}, "rank a text": {"r": "16"}, "rank another": {"r": 3}, "alpha not a number": {"lora_alpha": float("nan")},
    "alpha infinite": {"lora_alpha": float("inf")}, "no modules": {"target_modules": []}, "modules null": {"target_modules": None},
    "modules a mapping": {"target_modules": {"a": 1}}, "100,000 modules": {"target_modules": [f"m{n}" for n in range(100_000)]},
    "type of another": {"peft_type": "IA3"}, "type that is none": {"peft_type": "XLORA"}, "type null": {"peft_type": None}, "task": {"task_type": "MAKE_TEA"},
    "whole modules": {"modules_to_save": ["lm_head", "nothing"]}, "whole modules a number": {"modules_to_save": 3}, "layers far away": {"layers_to_transform": [-1, 10**9]},
    "pattern of ranks": {"rank_pattern": {"(a+)+$": 3}}, "ranks as texts": {"rank_pattern": {"q_proj": "x"}}, "alphas not numbers": {"alpha_pattern": {"q_proj": float("nan")}},
    "DoRA without sizes": {"use_dora": True}, "base is a page": {"base_model_name_or_path": "http://127.0.0.1:9/x"}, "base is a line": {"base_model_name_or_path": "\n"},
    "base is above": {"base_model_name_or_path": "../../../../../../../etc"}, "base is a number": {"base_model_name_or_path": 7}, "base is itself": {"base_model_name_or_path": "."},
    "PiSSA": {"init_lora_weights": "pissa"}, "EVA": {"init_lora_weights": "eva", "eva_config": None}, "CorDA": {"init_lora_weights": "corda", "corda_config": 3},
    "megatron": {"megatron_config": {"a": 1}, "megatron_core": "planted"}, "loft": {"loftq_config": {"loftq_bits": "x"}}, "bias": {"bias": "some"},
    "replicated": {"layer_replication": [[0, 10**6]]}, "tokens": {"trainable_token_indices": [10**9]}, "parameters": {"target_parameters": ["x"]},
    "unknown field": {"nobody_knows": {"a": 1}}, "excluded": {"exclude_modules": "("}, "conv": {"fan_in_fan_out": True}, "dropout": {"lora_dropout": 7},
    "revision": {"revision": "../x"}, "version": {"peft_version": [1]}, "arrow": {"arrow_config": {"top_k": 0}}, "lora_bias": {"lora_bias": True},
}  # fmt: skip


def _with(file: str, values: dict, inner: str | None = None) -> Make:
    def make(a: Artefacts) -> tuple[str, ...]:
        place = a.model / file
        document = json.loads(place.read_text())
        part = document[inner] if inner else document
        part.update(values)
        place.write_text(json.dumps(document))
        picture = str(next((a.data / "images").glob("*")))
        return ("ask", str(a.model), picture, "what?", "--max-new-tokens", "2")

    return make


def models() -> Plants:
    for what, values in TOKENIZER.items():
        yield f"tokenizer, {what}: ask", _with("tokenizer_config.json", values)
    for what, values in PROCESSOR.items():
        yield f"processor, {what}: ask", _with("processor_config.json", values, "image_processor")
    for what, values in CONFIG.items():
        yield f"config of text, {what}: ask", _with("config.json", values, "text_config")
    for what, values in OUTER.items():
        yield f"config, {what}: ask", _with("config.json", values)
    for what, values in GENERATION.items():
        yield f"generation_config, {what}: ask", _with("generation_config.json", values)
    for name in (
        "tokenizer.json",
        "tokenizer_config.json",
        "processor_config.json",
        "config.json",
        "generation_config.json",
        "chat_template.jinja",
    ):
        for command in (one_step, evaluate):
            yield (
                f"a model without its {name}: {command.__name__}",
                lambda a, name=name, command=command: (a.model / name).unlink() or command(a),
            )
    for what, change in TOKENIZERS.items():

        def broken(a: Artefacts, change=change) -> tuple[str, ...]:
            place = a.model / "tokenizer.json"
            place.write_text(json.dumps(change(json.loads(place.read_text()))))
            return ask(a)

        yield f"tokenizer.json, {what}: ask", broken


TOKENIZERS = {
    "no model": lambda all: {**all, "model": {}},
    "another model": lambda all: {**all, "model": {"type": "Tea"}},
    "two words with one number": lambda all: {**all, "model": {**all["model"], "vocab": dict.fromkeys(all["model"]["vocab"], 0)}},
    "numbers below zero": lambda all: {**all, "model": {**all["model"], "vocab": {word: -n for word, n in all["model"]["vocab"].items()}}},
    "merges of nothing": lambda all: {**all, "model": {**all["model"], "merges": [["never", "there"]]}},
    "added tokens far away": lambda all: {**all, "added_tokens": [{**one, "id": 2**32 + n} for n, one in enumerate(all["added_tokens"])]},
    "added tokens shifted": lambda all: {**all, "added_tokens": [{**one, "id": one["id"] + 5} for one in all["added_tokens"]]},
    "a pattern that never ends": lambda all: {**all, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}},
    "a pattern that is none": lambda all: {**all, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "("}, "behavior": "Isolated", "invert": False}},
    "no decoder": lambda all: {**all, "decoder": None},
    "cut after one token": lambda all: {**all, "truncation": {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0}},
    "filled to a million": lambda all: {**all, "padding": {"strategy": {"Fixed": 10**6}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "a"}},
}  # fmt: skip


def adapters() -> Plants:
    for number, (what, values) in enumerate(ADAPTER.items()):

        def make(a: Artefacts, values: dict = values, number: int = number) -> tuple[str, ...]:
            changed(a.adapter / "adapter_config.json", **values)
            if number % 2:
                return ("ask", str(a.adapter), "-", "what?", "--max-new-tokens", "2")
            return ("merge-lora", str(a.adapter), "--output", str(a.folder / "merged"), "--verify", "0")

        yield f"adapter, {what}: {'ask' if number % 2 else 'merge-lora'}", make
    for what, change in WEIGHTS.items():

        def weights(a: Artefacts, change=change) -> tuple[str, ...]:
            from safetensors.torch import load_file, save_file

            file = a.adapter / "adapter_model.safetensors"
            save_file(change(load_file(file)), file)
            return ("merge-lora", str(a.adapter), "--output", str(a.folder / "merged"), "--verify", "0")

        yield f"weights of an adapter, {what}: merge-lora", weights


WEIGHTS = {
    "not numbers": lambda all: {name: value * float("nan") for name, value in all.items()},
    "infinite": lambda all: {name: value + float("inf") for name, value in all.items()},
    "whole numbers": lambda all: {name: value.to(dtype=__import__("torch").int8) for name, value in all.items()},
    "turned": lambda all: {name: value.T.contiguous() for name, value in all.items()},
    "empty": lambda all: {name: value[:0].contiguous() for name, value in all.items()},
    "one dimension": lambda all: {name: value.flatten() for name, value in all.items()},
    "only A": lambda all: {name: value for name, value in all.items() if "lora_A" in name},
    "none": lambda all: {},
    "names with lines": lambda all: {f"{name}\n\u202e": value for name, value in all.items()},
    "complex": lambda all: {name: value.to(dtype=__import__("torch").complex64) for name, value in all.items()},
    "8 bit floats": lambda all: {name: value.to(dtype=__import__("torch").float8_e4m3fn) for name, value in all.items()},
    "of 1e38": lambda all: {name: value * 0 + 1e38 for name, value in all.items()},
}  # fmt: skip


def checkpoints() -> Plants:
    names = ("medgrpo.json", "adapter_model.safetensors", "tokenizer.json", "adapter_config.json", "generation_cycle_0.pt", "rng_state.pth",
             "scheduler.pt", "medgrpo_state.json", "optimizer.pt", "trainer_state.json", "complete.json", "processor_config.json")  # fmt: skip
    for name in names:

        def lacking(a: Artefacts, name: str = name) -> tuple[str, ...]:
            shutil.rmtree(a.run / "checkpoints" / "checkpoint-1")
            (a.run / "checkpoints" / "checkpoint-2" / name).unlink()
            return ("train", "--resume", str(a.run), "--set=training.max_steps=3")

        yield f"a checkpoint without its {name}: resume", lacking
    states = {
        "step below zero": {"global_step": -5}, "step far ahead": {"global_step": 10**12}, "step a text": {"global_step": "2"}, "epoch not a number": {"epoch": float("nan")},
        "no history": {"log_history": None}, "history of texts": {"log_history": ["x"]}, "other batch": {"train_batch_size": 999}, "callbacks": {"stateful_callbacks": {"TrainerControl": 3}},
        "callbacks a list": {"stateful_callbacks": [1]}, "best is a page": {"best_model_checkpoint": "http://x"},
    }  # fmt: skip
    for what, values in states.items():

        def state(a: Artefacts, values: dict = values) -> tuple[str, ...]:
            shutil.rmtree(a.run / "checkpoints" / "checkpoint-1")
            changed(a.run / "checkpoints" / "checkpoint-2" / "trainer_state.json", **values)
            return ("train", "--resume", str(a.run), "--set=training.max_steps=3")

        yield f"trainer_state.json, {what}: resume", state
    for what, act in FOLDERS.items():

        def folder(a: Artefacts, act=act) -> tuple[str, ...]:
            act(a.run)
            return ("train", "--resume", str(a.run), "--set=training.max_steps=3")

        yield f"checkpoints, {what}: resume", folder
    for what, values in ABOUT.items():

        def about(a: Artefacts, values: dict = values) -> tuple[str, ...]:
            changed(a.adapter / "medgrpo.json", **values)
            return (
                "eval",
                str(a.adapter),
                str(a.data),
                "--limit",
                "2",
                "--max-new-tokens",
                "2",
                "--output",
                str(a.folder / "eval"),
            )

        yield f"medgrpo.json, {what}: eval", about
    yield (
        "a run with a run in it: resume",
        lambda a: shutil.copytree(a.run, a.run / "run") and dry(a, "--resume", str(a.run / "run")),
    )
    yield (
        "an adapter given as base: train",
        lambda a: one_step(a, "--model", str(a.adapter), "--model", str(a.adapter)),
    )
    yield (
        "a dataset given as a model: train",
        lambda a: ("train", "--data", str(a.data), "--model", str(a.data), "--dry-run"),
    )
    yield (
        "a model given as data: train",
        lambda a: ("train", "--data", str(a.model), "--model", str(a.model), "--dry-run"),
    )
    yield (
        "a picture given as a model: ask",
        lambda a: ("ask", str(next((a.data / "images").glob("*"))), "-", "what?"),
    )


def _renamed(run: Path) -> None:
    (run / "checkpoints" / "checkpoint-2").rename(run / "checkpoints" / "checkpoint-9999999999999999999999")


FOLDERS = {
    "a file in the place of one": lambda run: (shutil.rmtree(run / "checkpoints" / "checkpoint-2"), put(run / "checkpoints" / "checkpoint-2", "x")),
    "one with a number that is none": lambda run: put(run / "checkpoints" / "checkpoint-x" / "complete.json", "{}"),
    "one with a number below zero": lambda run: put(run / "checkpoints" / "checkpoint--1" / "complete.json", "{}"),
    "one with a far number": _renamed,
    "a link to itself": lambda run: (run / "checkpoints" / "checkpoint-3").symlink_to("checkpoint-3"),
    "a link elsewhere": lambda run: (shutil.move(run / "checkpoints" / "checkpoint-2", run.parent / "elsewhere"), (run / "checkpoints" / "checkpoint-2").symlink_to("../../elsewhere")),
    "a file in the place of all": lambda run: (shutil.rmtree(run / "checkpoints"), put(run / "checkpoints", "x")),
    "a name with a line": lambda run: put(run / "checkpoints" / "checkpoint-3\n\u202e" / "complete.json", "{}"),
}  # fmt: skip
ABOUT = {
    "tags numbers": {"tags": [1, 2]}, "tags a mapping": {"tags": {"a": 1}}, "tags with lines": {"tags": ["a\n<b>"]}, "template unknown": {"prompt_template": "never"},
    "template a mapping": {"prompt_template": {"name": 3}}, "template a path": {"prompt_template": "/dev/zero"}, "generation texts": {"generation": {"max_new_tokens": "x"}},
    "generation below zero": {"generation": {"max_new_tokens": -1}}, "generation a list": {"generation": [1]}, "temperature not a number": {"generation": {"temperature": float("nan")}},
    "pixels a text": {"max_pixels": "x"}, "pixels 0": {"max_pixels": 0}, "version far": {"version": 10**9}, "fingerprint a number": {"fingerprint": 3},
    "fingerprint a list": {"fingerprint": [{"a": 1}]}, "boxes unknown": {"box_format": "yards"}, "base a list": {"base": [1]}, "base a mapping": {"base": {"path": 3}},
    "data a list": {"data": [1]}, "data a mapping": {"data": {"path": [None]}}, "revision a mapping": {"revision": {}}, "method a list": {"method": [None]},
}  # fmt: skip
