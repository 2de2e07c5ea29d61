"""What surrounds a call: variables, folders that are missing or full, encodings, streams that are closed, narrow terminals."""

import os
import resource
from collections.abc import Callable
from pathlib import Path

from tests.planted import Artefacts
from tests.unforeseen.plants import (
    ENDS,
    Call,
    Plants,
    ask,
    completions,
    dry,
    evaluate,
    one_step,
    prepare,
    put,
)

CLOSED = 141
VARIABLES: dict[str, dict[str, str | None]] = {
    "no HOME": {"HOME": None}, "HOME that is not there": {"HOME": "/nowhere/at/all"}, "HOME a device": {"HOME": "/dev/null"}, "HOME empty": {"HOME": ""}, "HOME a line": {"HOME": "/tmp/a\nb"}, "no TMPDIR": {"TMPDIR": "/nowhere"}, "TMPDIR a device": {"TMPDIR": "/dev/null"},
    "locale C": {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "locale POSIX, latin": {"LC_ALL": "POSIX", "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}, "locale of nobody": {"LC_ALL": "xx_YY.KOI99"}, "ASCII alone": {"PYTHONIOENCODING": "ascii:strict"}, "UTF-16": {"PYTHONIOENCODING": "utf-16"},
    "width 1": {"COLUMNS": "1", "LINES": "1"}, "width 0": {"COLUMNS": "0"}, "width below zero": {"COLUMNS": "-5"}, "width a word": {"COLUMNS": "wide"}, "width 1e9": {"COLUMNS": "1000000000"}, "terminal of nobody": {"TERM": "tea", "FORCE_COLOR": "1"}, "colours": {"CLICOLOR_FORCE": "1", "COLORTERM": "tea", "COLUMNS": "3"},
    "threads a word": {"OMP_NUM_THREADS": "many"}, "own threads a word": {"MEDGRPO_NUM_THREADS": "many"}, "own threads below zero": {"MEDGRPO_NUM_THREADS": "-3"}, "own threads 10**9": {"MEDGRPO_NUM_THREADS": "1000000000"}, "rayon a word": {"RAYON_NUM_THREADS": "x"}, "cache a device": {"MEDGRPO_CACHE": "/dev/null"},
    "cache not there": {"MEDGRPO_CACHE": "/proc/nowhere"}, "cache empty": {"MEDGRPO_CACHE": ""}, "language of nobody": {"MEDGRPO_LANG": "\u202e"}, "language Chinese": {"MEDGRPO_LANG": "zh"}, "history a folder": {"MEDGRPO_RUN_HISTORY": "/"}, "history a device": {"MEDGRPO_RUN_HISTORY": "/dev/full"},
    "devices a word": {"CUDA_VISIBLE_DEVICES": "tea"}, "hub in a device": {"HF_HOME": "/dev/null"}, "hub elsewhere": {"HF_ENDPOINT": "nonsense"}, "proxy of nonsense": {"HTTP_PROXY": "::::", "http_proxy": "::::", "ALL_PROXY": "tea://x"}, "rank a word": {"RANK": "x", "WORLD_SIZE": "y", "LOCAL_RANK": "z"},
    "rank alone": {"RANK": "1", "WORLD_SIZE": "2"}, "world of 0": {"WORLD_SIZE": "0"}, "launched": {"MEDGRPO_LAUNCHED": "1"}, "failures nowhere": {"MEDGRPO_FAILURES": "/nowhere/x"}, "stop file a folder": {"MEDGRPO_STOP_FILE": "/"}, "a time zone of nobody": {"TZ": "Mars/Base\n"}, "epoch a word": {"SOURCE_DATE_EPOCH": "x"},
    "a variable of no encoding": {"X_TOKEN": os.fsdecode(b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8")}, "a key of one letter": {"A_KEY": "e" * 8}, "a key of blanks": {"A_KEY": " " * 9}, "debug": {"MEDGRPO_DEBUG": "2"}, "warnings are errors": {"PYTHONWARNINGS": "error::UserWarning"}, "no seeds": {"PYTHONHASHSEED": "0"}, "certificates nowhere": {"SSL_CERT_FILE": "/nowhere", "SSL_CERT_DIR": "/nowhere"},
    "no PATH": {"PATH": ""}, "no USER": {"USER": None, "LOGNAME": None}, "everything away": dict.fromkeys([name for name in os.environ if not name.startswith(("VIRTUAL", "PATH", "HF_HUB_OFF", "PYTHONPATH"))]),
}  # fmt: skip


def _page(a: Artefacts) -> tuple[str, ...]:
    return ("compare", str(a.run), "--html", "--output", str(a.folder / "page"))


LIGHT: tuple[Callable[[Artefacts], tuple[str, ...]], ...] = (
    lambda a: ("score", completions(a), "--output", str(a.folder / "s.csv")), _page, lambda a: ("health", str(a.run)), dry, lambda a: prepare(a, a.data), lambda a: ("estimate-time", "--data", str(a.data)), lambda a: ("runs", str(a.folder)), lambda a: ("presets", "list"), lambda a: ("doctor",),
)  # fmt: skip


def surroundings() -> Plants:
    for number, (what, variables) in enumerate(VARIABLES.items()):

        def make(a: Artefacts, variables: dict = variables, number: int = number) -> Call:
            return Call(LIGHT[number % len(LIGHT)](a), environment=variables, is_new=True)

        yield f"{what}: {number % len(LIGHT)}", make
    for what in (
        "threads a word",
        "own threads a word",
        "rank a word",
        "world of 0",
        "rank alone",
        "launched",
        "cache a device",
        "history a device",
        "hub in a device",
        "stop file a folder",
        "HOME a device",
        "no TMPDIR",
    ):
        yield (
            f"{what}: a step of training",
            lambda a, what=what: Call(
                one_step(a),
                environment=VARIABLES[what],
                is_new=True,
                ends=(*ENDS, 130),  # asked to stop
            ),
        )


def streams() -> Plants:
    closes: dict[str, tuple[Callable[[], object], dict]] = {
        "stdout closed": (lambda: os.close(1), {}), "stderr closed": (lambda: os.close(2), {"is_silent": True}), "stdin closed": (lambda: os.close(0), {}), "all closed": (lambda: os.closerange(0, 3), {"is_silent": True}),
        "stdout full": (lambda: os.dup2(os.open("/dev/full", os.O_WRONLY), 1), {}), "stderr full": (lambda: os.dup2(os.open("/dev/full", os.O_WRONLY), 2), {"is_silent": True}), "stdout read only": (lambda: os.dup2(os.open("/dev/null", os.O_RDONLY), 1), {}),
        "stdout without reader": (_unread, {"ends": (*ENDS, CLOSED)}), "umask of all": (lambda: os.umask(0o777), {}),
    }  # fmt: skip
    kinds: dict[str, Callable[[Artefacts], tuple[str, ...]]] = {
        "score": LIGHT[0], "compare": _page, "health": LIGHT[2], "health --json": lambda a: ("health", str(a.run), "--json"), "a wrong call": lambda a: ("health", str(a.folder / "gone"), "--json"), "preprocess": LIGHT[4], "help": lambda a: ("--help",), "train": dry,
    }  # fmt: skip
    for number, (what, (close, more)) in enumerate(closes.items()):
        for place, (name, words) in enumerate(kinds.items()):
            if (number + place) % 2 == 0:
                yield (
                    f"{what}: {name}",
                    lambda a, close=close, more=more, words=words: Call(
                        words(a), before=close, is_new=True, **more
                    ),
                )


def _unread() -> None:
    here, there = os.pipe()
    os.close(here)
    os.dup2(there, 1)


def limits() -> Plants:
    def limited(kind: int, value: int) -> Callable[[], object]:
        return lambda: resource.setrlimit(kind, (value, value))

    files, size, stack = resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_STACK
    for what, before in (
        ("12 open files", limited(files, 12)),
        ("files of 0 bytes", limited(size, 0)),
        ("files of 1,000 bytes", limited(size, 1000)),
        ("a small stack", limited(stack, 512 * 1024)),
        ("as somebody else", _as_nobody),
        ("in a folder that is gone", _away),
        ("1.2 GB of addresses", limited(resource.RLIMIT_AS, 1_200_000_000)),
    ):
        for name, words in (
            ("score", LIGHT[0]),
            ("compare", _page),
            ("preprocess", LIGHT[4]),
            ("ask", ask),
            ("eval", evaluate),
            ("train", one_step),
        ):
            no_words = what == "files of 0 bytes"  # what it says goes into a file
            yield (
                f"{what}: {name}",
                lambda a, before=before, words=words, no_words=no_words: Call(
                    words(a), before=before, is_silent=no_words
                ),
            )


def _as_nobody() -> None:
    os.setgid(65534)
    os.setuid(65534)


def _away() -> None:
    os.mkdir("/tmp/medgrpo-gone-folder-of-tests") if not os.path.isdir(
        "/tmp/medgrpo-gone-folder-of-tests"
    ) else None
    os.chdir("/tmp/medgrpo-gone-folder-of-tests")
    os.rmdir("/tmp/medgrpo-gone-folder-of-tests")


MODULES = (
    "signal",
    "selectors",
    "socket",
    "struct",
    "pip",
    "json",
    "random",
    "tokenize",
    "torch",
    "numpy",
    "yaml",
    "PIL",
    "medgrpo",
    "sitecustomize",
    "usercustomize",
    "conftest",
    "readline",
    "transformers_modules",
    "planted",
)
"""Names of files that the folder of the call holds; none may be imported from there."""


def _many(a: Artefacts) -> Path:
    """So many pictures that other processes work on them."""
    from PIL import Image

    rows = [{"image": f"{n}.png", "question": "q?", "answer": "yes"} for n in range(30)]
    source = Path(put(a.folder / "source" / "rows.json", rows)).parent
    for n in range(30):
        Image.new("L", (32, 32), 5 * n).save(source / f"{n}.png")
    return source


def shadows() -> Plants:
    heavy: dict[str, Callable[[Artefacts], tuple[str, ...]]] = {
        "score": LIGHT[0],
        "compare": _page,
        "preprocess": lambda a: ("preprocess", str(_many(a)), str(a.folder / "out"), "--workers", "2"),
        "ask": ask,
        "train": one_step,
        "doctor": LIGHT[8],
        "bundle": lambda a: ("bundle", str(a.folder / "b"), "--dry-run"),
    }
    for name, words in heavy.items():

        def make(a: Artefacts, words: Callable = words) -> Call:
            for module in MODULES:
                put(a.folder / f"{module}.py", f"open({str(a.folder / 'marker')!r}, 'w').write('ran')\n")
            put(a.folder / "planted.pth", f"import os; open({str(a.folder / 'marker')!r}, 'w')\n")
            return Call(words(a), is_new=True)

        yield f"modules in the folder of the call: {name}", make


ALL: tuple[Callable[[], Plants], ...] = (surroundings, streams, limits, shadows)
