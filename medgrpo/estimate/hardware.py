"""What accelerators can do, by data sheet (`cards.csv`), and which of them this machine has, by its driver."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from medgrpo.errors import UsageError, choice_error
from medgrpo.estimate.processor import this_processor

REFERENCE = "A100"
CPU = "CPU"
UNKNOWN_ENGINE = frozenset({"huawei"})
"""Makers whose software stack was never measured with medgrpo, and is no CUDA or ROCm."""
NO_PART_OF_A_NAME = frozenset(
    [
        "nvidia",
        "amd",
        "tesla",
        "geforce",
        "quadro",
        "instinct",
        "radeon",
        "generation",
        "gpu",
        "device",
        "graphics",
        "corporation",
    ]
)
WORDS_THAT_TELL = frozenset({"laptop", "mobile", "max-q", "maxq"})
"""A card with such a word in its name is another than the one without it."""
MIG_SLICES = 7


@dataclass(frozen=True)
class Gpu:
    """One accelerator, or a slice of one.

    Attributes:
        memory_gib: memory, in GiB; where the driver was asked, what it says.
        bandwidth_gb_s: memory bandwidth, in GB/s.
        bf16_tflops: dense matrix rate in bf16, or in fp16 where `has_bf16` is False, in TFLOP/s.
        fp32_tflops: rate in float32, in TFLOP/s.
        link_gb_s: to another one of the machine, one way, in GB/s.
        source: where the figures are from.
        is_known: False where nothing is known but its memory.
    """

    name: str
    memory_gib: float
    bandwidth_gb_s: float
    bf16_tflops: float
    fp32_tflops: float = 0.0
    link_gb_s: float = 25.0
    maker: str = "nvidia"
    has_bf16: bool = True
    source: str = ""
    names: tuple[str, ...] = ()
    is_known: bool = True

    @property
    def is_cpu(self) -> bool:
        """Whether it is no accelerator but the processor."""
        return self.maker == "cpu"


@dataclass(frozen=True)
class Installed:
    """A GPU as the driver names it."""

    name: str
    memory_gib: float | None = None


def _read_cards() -> dict[str, Gpu]:
    text = files("medgrpo.estimate").joinpath("cards.csv").read_text(encoding="utf-8")
    return {
        row["name"]: Gpu(
            row["name"],
            memory_gib=float(row["memory_gib"]),
            bandwidth_gb_s=float(row["bandwidth_gb_s"]),
            bf16_tflops=float(row["bf16_tflops"]),
            fp32_tflops=float(row["fp32_tflops"]),
            link_gb_s=float(row["link_gb_s"]),
            maker=row["maker"],
            has_bf16=row["has_bf16"] == "yes",
            source=row["source"],
            names=tuple(filter(None, row["names"].split("|"))),
        )
        for row in csv.DictReader(text.splitlines())
    }


GPUS: dict[str, Gpu] = _read_cards()
"""The cards that are known, by short name."""


def find_gpu(name: str) -> tuple[Gpu, str]:
    """The GPU of this name, or for `auto` the one of this machine, else its processor; and how it was found.

    A MIG slice is named by its card and its profile: `A100 3g.40gb`.

    Raises:
        UsageError: no such name.
    """
    if name == "auto":
        return _of_this_machine()
    if name.lower() == "cpu":
        return processor(), "named"
    card, profile = _without_profile(name)
    found = match_card(card) or _by_squeezed(card)
    if found is None:
        raise choice_error("GPU", name, [*GPUS, CPU])
    return (slice_of(found, profile) if profile else found), "named"


def match_card(name: str) -> Gpu | None:
    """The card that a driver's name means: the very name first, else the one with most words of it; None: unknown."""
    exact = _exact_names().get(_squeezed(name))
    if exact is not None:
        return exact
    words = _words(name)
    fitting = [
        (len(of_card), card)
        for card in GPUS.values()
        for of_card in (_words(one) for one in (card.name, *card.names))
        if of_card and of_card <= words and not (words - of_card) & WORDS_THAT_TELL
    ]
    return max(fitting, key=lambda pair: pair[0])[1] if fitting else None


def slice_of(card: Gpu, profile: str) -> Gpu:
    """A MIG slice: its share of the card's compute by sevenths, its memory by the profile (`3g.40gb`).

    Raises:
        UsageError: no such profile.
    """
    parts = re.fullmatch(r"(\d)g\.(\d+)gb.*", profile)
    if parts is None or not 1 <= int(parts[1]) <= MIG_SLICES:
        raise UsageError(
            f"no MIG profile {profile}", expected="<slices>g.<memory>gb", hint="--gpu 'A100 3g.40gb'"
        )
    share, memory = int(parts[1]) / MIG_SLICES, float(parts[2])
    return replace(
        card,
        name=f"{card.name} {profile}",
        memory_gib=min(memory, card.memory_gib) * 0.98,
        bandwidth_gb_s=card.bandwidth_gb_s * min(1.0, memory / card.memory_gib),
        bf16_tflops=card.bf16_tflops * share,
        fp32_tflops=card.fp32_tflops * share,
        link_gb_s=12.0,  # slices do not reach each other but over the host
    )


def processor() -> Gpu:
    """This machine's processor as the slowest of accelerators: float32, its own memory."""
    here = this_processor()
    return Gpu(
        CPU, host_memory_gib(), here.gb_s, here.tflops, here.tflops, 5.0, "cpu", False, here.describe()
    )


def host_memory_gib() -> float:
    """The machine's memory, in GiB; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return 0.0


def _of_this_machine() -> tuple[Gpu, str]:
    here = installed()
    if not here:
        return (
            processor(),
            "no GPU here: the hours are those of this machine's processor (--gpu NAME names a card)",
        )
    first = here[0]
    card, profile = _without_profile(first.name)
    known = match_card(card)
    gpu = known or unknown_card(first)
    if profile:
        gpu = slice_of(gpu, profile)
    least = min((one.memory_gib for one in here if one.memory_gib), default=None)
    if least is not None:
        gpu = replace(gpu, memory_gib=least)
    others = sorted({one.name for one in here} - {first.name})
    mixed = f" (also here: {', '.join(others)}; the smallest memory counts)" if others else ""
    if known is None:
        return gpu, f"found here: {first.name}, which is not in the table: its speed is a guess{mixed}"
    return gpu, f"found here: {first.name}{mixed}"


def unknown_card(card: Installed) -> Gpu:
    """A card of which nothing is known but its memory, taken for one that is about as large."""
    memory = card.memory_gib or 16.0
    alike = min(
        (gpu for gpu in GPUS.values() if gpu.has_bf16 and gpu.maker == "nvidia"),
        key=lambda gpu: (abs(gpu.memory_gib - memory), gpu.bf16_tflops),
    )
    return replace(
        alike,
        name=card.name,
        memory_gib=memory,
        names=(),
        is_known=False,
        source=f"a guess: as {alike.name}, which is as large",
    )


def installed_gpus() -> list[str]:
    """Names of this machine's GPUs, as their driver gives them; empty where there are none."""
    return [one.name for one in installed()]


def installed() -> list[Installed]:
    """The GPUs that this process may use with their memory, by nvidia-smi, else by rocm-smi; MIG slices in the place of
    their card. CUDA_VISIBLE_DEVICES hides some, or all."""
    return visible(_all_installed(), os.environ.get("CUDA_VISIBLE_DEVICES"))


def visible(cards: list[Installed], said: str | None) -> list[Installed]:
    """Those that CUDA_VISIBLE_DEVICES leaves: none where it is empty, those before the first number that there is no card
    of; all where it names them otherwise than by number."""
    if said is None:
        return cards
    words = [word.strip() for word in said.split(",")]
    if not all(word.lstrip("-").isdigit() for word in words if word):
        return cards
    kept = []
    for word in words:
        if not word or not 0 <= int(word) < len(cards):
            break
        kept.append(cards[int(word)])
    return kept


def _all_installed() -> list[Installed]:
    if shutil.which("nvidia-smi") is not None:
        return read_nvidia(
            _output(["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]),
            _output(["nvidia-smi", "-L"]),
        )
    if shutil.which("rocm-smi") is not None:
        return read_rocm(_output(["rocm-smi", "--showproductname", "--showmeminfo", "vram", "--json"]))
    return []


def read_nvidia(query: str, listed: str = "") -> list[Installed]:
    """What nvidia-smi answered.

    Args:
        query: lines of name and MiB.
        listed: of `-L`, which alone tells the MIG slices.
    """
    cards = []
    for line in query.splitlines():
        name, _, memory = line.rpartition(",")
        if not name.strip():
            name, memory = line, ""
        if name.strip():
            cards.append(Installed(name.strip(), _mib(memory)))
    slices = re.findall(r"MIG (\d+g\.\d+gb\S*)", listed)
    if slices and cards:
        return [
            Installed(f"{cards[0].name} {profile}", float(re.findall(r"\.(\d+)gb", profile)[0]) * 0.98)
            for profile in slices
        ]
    return cards


def read_rocm(answer: str) -> list[Installed]:
    """What rocm-smi answered with `--json`: a dictionary by card."""
    import json

    try:
        cards = json.loads(answer)
    except ValueError:
        return []
    found = []
    for name, card in sorted(cards.items()):
        if not name.startswith("card"):
            continue
        said = {key.lower(): value for key, value in card.items()}
        series = next(
            (said[key] for key in ("card series", "card model", "market name") if key in said), "AMD GPU"
        )
        total = next((value for key, value in said.items() if "vram total memory" in key), None)
        found.append(Installed(str(series), int(total) / 2**30 if total else None))
    return found


def _mib(text: str) -> float | None:
    digits = re.sub(r"[^\d.]", "", text)
    return float(digits) / 1024 if digits else None


def _output(command: list[str]) -> str:
    try:
        answer = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout if answer.returncode == 0 else ""


def _without_profile(name: str) -> tuple[str, str | None]:
    """The card's name, and the MIG profile in it."""
    parts = re.search(r"[\s:,]*(?:MIG\s*)?(\dg\.\d+gb\S*)", name, re.IGNORECASE)
    return (name[: parts.start()].strip(), parts[1].lower()) if parts else (name, None)


@cache
def _exact_names() -> dict[str, Gpu]:
    return {_squeezed(one): card for card in GPUS.values() for one in (card.name, *card.names)}


def _by_squeezed(name: str) -> Gpu | None:
    """A name as people type it: `rtx4090`, `a100_40gb`, `4090`."""
    typed = _squeezed(name)
    known = _exact_names()
    return known.get(typed) or (known.get(f"rtx{typed}") if typed else None)


def _squeezed(name: str) -> str:
    kept = [word for word in re.split(r"[\s_-]+", name.lower()) if word not in NO_PART_OF_A_NAME]
    return "".join(kept)


def _words(name: str) -> frozenset[str]:
    """Words of a name, digits kept with their letters: `RTX4090` is `rtx` and `4090`, as drivers write it."""
    spread = re.sub(r"\brtx(?=\d)", "rtx ", name.lower())
    spread = re.sub(r"(?<=\d)(ti|super)\b", r" \1", spread)
    return frozenset(re.split(r"[\s_/-]+", spread)) - NO_PART_OF_A_NAME - {""}
