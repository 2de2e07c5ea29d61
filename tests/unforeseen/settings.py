"""Settings: numbers that are none, wrong nesting, near-miss names, files of other encodings, YAML that names itself."""

import os

from tests.unforeseen.plants import Call, Plants, dry, put

SETS = (
    "training.learning_rate=nan", "training.learning_rate=inf", "training.learning_rate=1e400", "training.max_grad_norm=nan",
    "training.num_train_epochs=1e300", "training.num_train_epochs=nan", "training.max_steps=1000000000000000000000000000000",
    "training.save_steps=9223372036854775808", "rollout.temperature=nan", "rollout.temperature=1e-320", "rollout.top_k=99999999999999",
    "rollout.num_generations=2147483648", "rollout.max_completion_length=1000000000000", "tuning.rank=100000000", "tuning.alpha=-3",
    "model.context_length=1e3", "model.max_pixels=100000000000000000000", "run.seed=-1", "run.seed=18446744073709551616", "run.seed=1.5",
    "data.rows=nan", "rewards.weights={}", "rewards.weights.answer_match=nan", "rewards.weights.answer_match=-1e308",
    "rewards.weights.answer_match={a=1}", "rewards.weights=[1]", "rewards.timeout_s=-1", "rewards.timeout_s=inf", "rewards.gate=formta",
    "training.method=grop", "training.lr_scheduler_type=cosin", "model.dtype=bf61", "tuning.towers=[[]]", "tuning.target_modules=(",
    "tuning.target_modules=[1]", "curriculum.by=column:", "curriculum.by=column:\u202e", "curriculum.levels=[{}]", "validation.metric=\n",
    "trainig.max_steps=3", "training.max_step=3", "training..seed=1", "training=3", "training.max_steps.x=3", "=", "=3", "training.max_steps",
    "training.max_steps=\x00", "a=b=c", "logging.report_to=[1, {}]", "logging.report_to=wandbb", "stages={}", "stages.sft=3",
    "stages.x.method=sft", "stages.sft.enabled=maybe", "data.prompt_template=[1]", "data.prompt_template=/dev/zero", "data.path=\u2028",
    "model.path=[]", "run.output=\ud800", "run.output=" + "x" * 300, "vllm.server_base_url=ftp://x", "launch.deepspeed=/dev/null",
    "launch.deepspeed={}", "masks.cell_px=1e99", "dpo.loss_type=sigmiod",
)  # fmt: skip
FILES: dict[str, bytes | str] = {
    "twice.toml": "[training]\nmax_steps = 1\n[training]\nseed = 2\n",
    "redefined.toml": "training.max_steps = 1\n[training]\nmax_steps = 2\n",
    "deep.toml": "[" + ".".join("a" * 3000) + "]\n",
    "deep value.toml": "a = " + "[" * 5000 + "]" * 5000,
    "digits.toml": "[training]\nmax_steps = " + "9" * 6000,
    "utf16.toml": "[training]\nmax_steps = 1\n".encode("utf-16"),
    "bom.toml": b"\xef\xbb\xbf[training]\nmax_steps = 1\n",
    "latin.toml": "[run]\noutput = 'é'\n".encode("latin-1"),
    "old mac.toml": b"[training]\rmax_steps = 1\r",
    "date.toml": "[training]\nmax_steps = 2020-01-01T00:00:00Z\n",
    "array of tables.toml": "[[training]]\nmax_steps = 1\n[[training]]\nmax_steps = 2\n",
    "empty name.toml": '[""]\n"" = 1\n',
    "bidi.toml": '[training]\n"max_steps\u202e" = 1\n',
    "itself.yaml": "a: &a [*a]\n",
    "itself as section.yaml": "training: &t\n  max_steps: *t\n",
    "object.yaml": "model: !!python/object/apply:os.system ['touch marker']\n",
    "two.yaml": "a: 1\n---\nb: 2\n",
    "merge.yaml": "training:\n  <<: [1, 2]\n",
    "keys.yaml": "? [1, 2]\n: 3\n",
    "null key.yaml": "~: 1\ntrue: 2\n",
    "sexagesimal.yaml": "training:\n  max_steps: 1:30\n",
    "tab.yaml": "training:\n\tmax_steps: 1\n",
    "twice.json": '{"training": {"max_steps": 1}, "training": 3}',
    "nan.json": '{"training": {"learning_rate": NaN}}',
    "deep.json": '{"a":' * 5000 + "1" + "}" * 5000,
    "surrogate.json": '{"run": {"output": "\\ud800"}}',
    "list.json": "[[1, 2]]",
    "no suffix": "[training]\nmax_steps = 1\n",
    "a.ini": "[training]\nmax_steps: 1\n",
}  # fmt: skip


def settings() -> Plants:
    for word in SETS:
        yield f"--set {word[:40]!r}", lambda a, word=word: dry(a, f"--set={word}")
    for name, content in FILES.items():
        yield (
            f"--config {name}",
            lambda a, name=name, content=content: dry(a, "--config", put(a.folder / name, content)),
        )
    yield "--config that is a folder", lambda a: dry(a, "--config", str(a.data))
    yield (
        "--config that is a pipe",
        lambda a: os.mkfifo(a.folder / "c.toml") or dry(a, "--config", str(a.folder / "c.toml")),
    )
    yield "--config /dev/zero", lambda a: dry(a, "--config", "/dev/zero")
    yield "--config /dev/stdin", lambda a: dry(a, "--config", "/dev/stdin")
    yield (
        "--config that is a link to itself",
        lambda a: (a.folder / "l.toml").symlink_to("l.toml") or dry(a, "--config", str(a.folder / "l.toml")),
    )
    for name in ("twice.toml", "digits.toml", "itself.yaml", "deep.toml", "utf16.toml", "bidi.toml"):

        def resumed(a, content=FILES[name]) -> Call:
            put(a.run / "config.toml", content)
            return Call(("train", "--resume", str(a.run), "--dry-run"))

        yield f"config.toml of a run is as {name}: resume", resumed
        yield (
            f"config.toml of a run is as {name}: health",
            lambda a, content=FILES[name]: put(a.run / "config.toml", content) and ("health", str(a.run)),
        )
        yield (
            f"config.toml of a run is as {name}: runs",
            lambda a, content=FILES[name]: put(a.run / "config.toml", content) and ("runs", str(a.folder)),
        )
