"""`medgrpo` for shells under test: a process that has loaded PyTorch once, and forks for each call.

`python -m tests.docs.zygote serve SOCKET` waits; the script `medgrpo` in `bin/` sends its words there. So a page with
thirty calls loads PyTorch once. Each call runs in a child of its own, with the caller's folder, streams and variables.
"""

import array
import json
import os
import socket
import sys

QUICK = (
    *("max_steps=2", "validation.rows=6", "training.prompts_per_step=4", "rollout.num_generations=4"),
    *("rollout.max_completion_length=32", "training.per_device_train_batch_size=4", "validation.steps=0"),
)
"""What makes a documented run short; nothing else of it changes."""

CLIENT = """#!{python} -S
import array, json, os, socket, sys
s = socket.socket(socket.AF_UNIX); s.connect({path!r})
words = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
s.sendmsg([len(words).to_bytes(8, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
s.sendall(words)
sys.exit(int(s.recv(16) or b"99"))
"""


def demo_size(words):
    """The words of a call, made short: fewer steps, fewer rows, the demo's model in place of a real one."""
    words = ["qwen" if word == "Qwen/Qwen2.5-VL-3B-Instruct" else word for word in words]
    if words[:1] == ["train"] and "--dry-run" not in words:
        small = [*QUICK]
        if "detection" in words:
            small += ["stages.sft.max_steps=4", "stages.sft.prompts_per_step=4"]
        if "vessels-unet" in words:
            small = [
                "max_steps=2",
                "stages.warm.max_steps=4",
                "masks.image_size=64",
                "training.prompts_per_step=2",
            ]
        if "--model" not in words and "vessels-unet" not in words and "--method" not in words:
            small.append("stages.sft.max_steps=40")
        method = words[words.index("--method") + 1] if "--method" in words else "grpo"
        if method != "grpo":
            small = [one for one in small if not one.startswith("rollout.num")]
        words += [part for one in small for part in ("--set", one)]
    if words[:1] == ["make-dpo"] and "--threshold" in words:  # so short a run earns little
        words[words.index("--threshold") + 1] = "0.1"
    if words[:1] == ["eval"] and "--limit" not in words and "--help" not in words:
        words += ["--limit", "6"]
    return words


def serve(path):
    import torch
    import transformers
    import trl  # noqa: F401

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    from transformers import AutoModelForImageTextToText, AutoProcessor  # noqa: F401
    from trl import GRPOTrainer, SFTTrainer  # noqa: F401

    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(8)
    print("ready", flush=True)
    while True:
        caller, _ = server.accept()
        size, rights, *_ = caller.recvmsg(8, socket.CMSG_SPACE(12))
        streams = array.array("i", rights[0][2]).tolist()
        text = b""
        while len(text) < int.from_bytes(size, "big"):
            text += caller.recv(65536)
        if os.fork() == 0:
            _answer(caller, streams, *json.loads(text))
        for stream in streams:
            os.close(stream)
        caller.close()


def _answer(caller, streams, words, folder, variables):
    if os.fork():  # the server waits for nobody
        os._exit(0)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    # Python's own know of the streams of the server whether they can be wound back.
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    from medgrpo.cli.main import main

    code = 0
    try:
        sys.argv = ["medgrpo", *demo_size(words)]
        main(sys.argv[1:])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException as error:  # noqa: BLE001 - told to the caller as any program's end
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        code = 70
    sys.stdout.flush()
    sys.stderr.flush()
    caller.sendall(str(code).encode())
    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[2])
