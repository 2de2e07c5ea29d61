"""What accelerators can do, by data sheet (`cards.csv`), and which of them this machine has, by its driver."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from medgrpo.errors import UsageError, choice_error
from medgrpo.estimate import drivers
from medgrpo.estimate.drivers import BF16_SINCE, SLICE_MEMORY, Installed, host_memory_gib
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
        "grid",
        "instinct",
        "radeon",
        "generation",
        "gpu",
        "device",
        "graphics",
        "corporation",
    ]
)
WORDS_THAT_TELL = frozenset(
    {"laptop", "mobile", "max", "maxq", "embedded", "pro", "ada", "ti", "super", "xt", "xtx", "gre", "nano"}
)
"""A card with such a word in its name is another than the one without it."""
OLDER_THAN_BF16 = frozenset({"tesla", "quadro", "gtx", "titan"})
"""Words that no maker's name of a card with bfloat16 has: what is left where the driver tells no capability."""
MATRIX_UNITS_SINCE = 7.0
WITHOUT_MATRIX_UNITS = frozenset({"P100", "P40"})
MIG_SLICES = 7
SAME_SIZE = 0.12
"""Memories that differ by no more are one card's: a driver keeps some of it."""


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

    A MIG slice is named by its card and its profile, `A100 3g.40gb`; a virtual card as its driver does, `A40-12Q`.
    Memory in a name counts: `RTX 3080 12GB`.

    Raises:
        UsageError: no such name.
    """
    if name == "auto":
        return _of_this_machine()
    if name.lower() == "cpu":
        return processor(), "named"
    card, part = part_of(name)
    found = match_card(card) or _by_squeezed(card) or match_card(f"rtx {card}")
    if found is None:
        raise choice_error("GPU", name, [*GPUS, CPU])
    if _squeezed(card) not in _exact_names():
        found = of_memory(found, _named_memory(card))
    return (part.of(found) if part else found), "named"


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


def of_memory(card: Gpu, memory_gib: float | None) -> Gpu:
    """The card's version with so much memory (an A100 has 40 or 80 GB), or else the card with it."""
    if not memory_gib:
        return card

    def off(one: Gpu) -> float:
        return abs(one.memory_gib / memory_gib - 1)

    stem = card.name.partition("-")[0]
    versions = [one for one in GPUS.values() if one.name == stem or re.fullmatch(rf"{stem}-\d+GB", one.name)]
    nearest = min([card, *versions] if card in versions else [card], key=off)
    return replace(nearest if off(nearest) <= SAME_SIZE else card, memory_gib=memory_gib)


def _named_memory(name: str) -> float | None:
    """GiB that a name says: none of a GH200's, which say the processor's memory."""
    said = re.search(r"(?<![\d.])(\d+) ?GB?\b", name, re.IGNORECASE)
    return float(said[1]) if said and "gh200" not in name.lower() else None


@dataclass(frozen=True)
class Part:
    """A part of a card: a MIG slice, or a virtual card of a hypervisor.

    Attributes:
        name: its profile, as the driver writes it.
        compute: share of the card's compute; 1 where virtual cards take turns.
        is_slice: whether memory is cut with its share of the bandwidth, too.
    """

    name: str
    compute: float
    memory_gb: float
    is_slice: bool = True

    def of(self, card: Gpu) -> Gpu:
        """The card with what this part has of it."""
        width = min(1.0, self.memory_gb / card.memory_gib) if self.is_slice else 1.0
        return replace(
            card,
            name=f"{card.name} {self.name}",
            memory_gib=min(self.memory_gb, card.memory_gib) * SLICE_MEMORY,
            bandwidth_gb_s=card.bandwidth_gb_s * width,
            bf16_tflops=card.bf16_tflops * self.compute,
            fp32_tflops=card.fp32_tflops * self.compute,
            link_gb_s=12.0,  # they do not reach each other but over the host
        )


def part_of(name: str) -> tuple[str, Part | None]:
    """The card's name, and the part of it that a name means.

    `A100 3g.40gb` and `MIG 1c.3g.40gb` are slices, `A100-3-20C` is one for a virtual machine, `A40-12Q` a virtual card.

    Raises:
        UsageError: no such profile.
    """
    found = re.search(rf"[\s:,]*(?:MIG\s*)?\b({drivers.PROFILE})", name, re.IGNORECASE)
    if found:
        profile, compute, sevenths, memory = found[1].lower(), found[2], int(found[3]), float(found[4])
        if not 1 <= sevenths <= MIG_SLICES:
            raise UsageError(
                f"no MIG profile {profile}", expected="<slices>g.<memory>gb", hint="--gpu 'A100 3g.40gb'"
            )
        share = min(int(compute or sevenths), sevenths) / MIG_SLICES
        return name[: found.start()].strip(), Part(profile, share, memory)
    found = re.fullmatch(r"(.*?\w)(?:-([1-7]))?-(\d+)[ABCQ](?:ME|GFX)?", name.strip(), re.IGNORECASE)
    if found:
        profile, share = name.strip()[len(found[1]) + 1 :].upper(), int(found[2] or MIG_SLICES) / MIG_SLICES
        return found[1], Part(profile, share, float(found[3]), is_slice=bool(found[2]))
    return name, None


def processor() -> Gpu:
    """This machine's processor as the slowest of accelerators: float32, its own memory."""
    here = this_processor()
    return Gpu(
        CPU, host_memory_gib(), here.gb_s, here.tflops, here.tflops, 5.0, "cpu", False, here.describe()
    )


def _of_this_machine() -> tuple[Gpu, str]:
    here = drivers.installed()
    if not here:
        return (
            processor(),
            "no GPU here: the hours are those of this machine's processor (--gpu NAME names a card)",
        )
    first = here[0]
    card, part = part_of(first.name)
    known = match_card(card)
    if known is None:
        gpu = unknown_card(first)  # as large as the part is
    else:
        gpu = part.of(known) if part else of_memory(known, first.memory_gib)
    said = [one.memory_gib for one in here if one.memory_gib]
    if said:
        gpu = replace(gpu, memory_gib=min(said))
    elif known and host_memory_gib():  # it shares the processor's
        gpu = replace(gpu, memory_gib=min(gpu.memory_gib, host_memory_gib()))
    others = sorted({one.name for one in here} - {first.name})
    mixed = f" (also here: {', '.join(others)}; the smallest memory counts)" if others else ""
    if known is None:
        return gpu, f"found here: {first.name}, which is not in the table: its speed is a guess{mixed}"
    return gpu, f"found here: {first.name}{mixed}"


def unknown_card(card: Installed) -> Gpu:
    """A card of which nothing is known but its memory and age, taken for one that is about as large and as old."""
    memory = card.memory_gib or host_memory_gib() or 16.0  # a driver that does not say: it is the processor's
    has_bf16 = not set(card.name.lower().split()) & OLDER_THAN_BF16
    if card.capability is not None:
        has_bf16 = card.capability >= BF16_SINCE
    has_units = card.capability is None or card.capability >= MATRIX_UNITS_SINCE
    alike = min(
        (
            gpu
            for gpu in GPUS.values()
            if gpu.has_bf16 == has_bf16
            and gpu.maker == "nvidia"
            and has_units == (gpu.name not in WITHOUT_MATRIX_UNITS)
        ),
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


@cache
def _exact_names() -> dict[str, Gpu]:
    return {_squeezed(one): card for card in GPUS.values() for one in (card.name, *card.names)}


def _by_squeezed(name: str) -> Gpu | None:
    """A card of GeForce by its number, `4090`."""
    typed = _squeezed(name)
    known = _exact_names()
    return known.get(f"rtx{typed}") if typed else None


def _squeezed(name: str) -> str:
    kept = [word for word in re.split(r"[\s_-]+", name.lower()) if word not in NO_PART_OF_A_NAME]
    return "".join(kept)


def _words(name: str) -> frozenset[str]:
    """Words of a name, digits kept with their letters: `RTX4090` is `rtx` and `4090`, as drivers write it."""
    spread = re.sub(r"\brtx(?=\d)", "rtx ", name.lower())
    spread = re.sub(r"(?<=\d)(ti|super)\b", r" \1", spread)
    return frozenset(re.split(r"[\s_/()\[\]-]+", spread)) - NO_PART_OF_A_NAME - {""}
