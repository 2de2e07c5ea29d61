"""The GPUs of this machine as their driver names them: nvidia-smi, else rocm-smi."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass

from medgrpo.json_in import json_value

PROFILE = r"(?:(\d+)c\.)?(\d+)g\.(\d+)gb\S*"
"""A MIG profile: of a slice's compute so many parts, its sevenths of the card, its memory."""
SLICE_MEMORY = 0.98
"""Share of a slice's nominal memory that there is."""
BF16_SINCE = 8.0
"""Compute capability from which CUDA cards have bfloat16."""


@dataclass(frozen=True)
class Installed:
    """A GPU as the driver names it.

    Attributes:
        memory_gib: None where the driver does not say, as where it is the host's.
        capability: of CUDA; None where the driver does not say.
        ids: what CUDA_VISIBLE_DEVICES may call it, beside its number.
    """

    name: str
    memory_gib: float | None = None
    capability: float | None = None
    ids: tuple[str, ...] = ()


def installed_gpus() -> list[str]:
    """Names of this machine's GPUs, as their driver gives them; empty where there are none."""
    return [one.name for one in installed()]


def installed() -> list[Installed]:
    """The GPUs that this process may use with their memory; MIG slices in the place of their card.

    CUDA_VISIBLE_DEVICES (of AMD's cards HIP_VISIBLE_DEVICES or ROCR_VISIBLE_DEVICES, too) hides some, or all.
    """
    cards = _of_nvidia()
    if cards:
        return visible(cards, os.environ.get("CUDA_VISIBLE_DEVICES"))
    cards = _of_amd()
    for name in ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"):
        if os.environ.get(name) is not None:
            return visible(cards, os.environ[name])
    return cards


def visible(cards: list[Installed], said: str | None) -> list[Installed]:
    """Those that CUDA_VISIBLE_DEVICES leaves: none where it is empty, those before the first word that is no card's number
    or id (the beginning of one is enough); all where none of its ids is known here."""
    if said is None:
        return cards
    words = [word.strip() for word in said.split(",")]
    if any(word and not word.lstrip("-").isdigit() for word in words) and not any(card.ids for card in cards):
        return cards
    kept: list[Installed] = []
    for word in words:
        if word.lstrip("-").isdigit():
            found = [cards[int(word)]] if 0 <= int(word) < len(cards) else []
        else:
            found = [card for card in cards if word and any(one.startswith(word) for one in card.ids)]
        if not found:
            break
        kept += found
    return kept


def host_memory_gib() -> float:
    """The machine's memory, in GiB; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return 0.0


def _of_nvidia() -> list[Installed]:
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shutil.which("nvidia-smi") is None or (hidden is not None and hidden.strip() in {"", "-1"}):
        return []
    said = _output(_query(FIELDS))
    if said and MIG_IS_ON not in said.lower():  # each call takes as long as the estimate
        return read_nvidia(said)
    # Drivers before 2021 do not know all fields, and then answer nothing.
    return read_nvidia(said or _output(_query("name,memory.total")), _output(["nvidia-smi", "-L"]))


FIELDS = "name,memory.total,compute_cap,uuid,mig.mode.current"
MIG_IS_ON = "enabled"


def _query(fields: str) -> list[str]:
    return ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]


def _of_amd() -> list[Installed]:
    if shutil.which("rocm-smi") is None:
        return []
    return read_rocm(_output(["rocm-smi", "--showproductname", "--showmeminfo", "vram", "--json"]))


def read_nvidia(query: str, listed: str = "") -> list[Installed]:
    """What nvidia-smi answered.

    Args:
        query: lines of name, MiB and, where the driver knows them, compute capability and id.
        listed: of `-L`, which alone tells the MIG slices.
    """
    parts = _by_card(listed)
    cards: list[Installed] = []
    for number, line in enumerate(line for line in query.splitlines() if line.strip()):
        name, memory, capability, uuid = (*(word.strip() for word in line.split(",")), "", "", "")[:4]
        own, slices = parts[number] if number < len(parts) else ((uuid,) if uuid else (), [])
        card = Installed(name, _mib(memory), _number(capability), own)
        cards += [_slice(card, profile, uuid) for profile, uuid in slices] or [card]
    return cards


def _slice(card: Installed, profile: str, uuid: str) -> Installed:
    parts = re.fullmatch(PROFILE, profile)
    memory = float(parts[3]) * SLICE_MEMORY if parts else card.memory_gib
    return Installed(f"{card.name} {profile}", memory, card.capability, (uuid, *card.ids))


def _by_card(listed: str) -> list[tuple[tuple[str, ...], list[tuple[str, str]]]]:
    """Of each card of `nvidia-smi -L` its id, and the profile and id of each of its MIG slices."""
    found: list[tuple[tuple[str, ...], list[tuple[str, str]]]] = []
    for line in listed.splitlines():
        uuid = re.search(r"UUID: ([^)\s]+)", line)
        part = re.match(rf"\s*MIG ({PROFILE})", line)
        if line.startswith("GPU "):
            found.append(((uuid[1],) if uuid else (), []))
        elif part and found:
            found[-1][1].append((part[1], uuid[1] if uuid else ""))
    return found


def read_rocm(answer: str) -> list[Installed]:
    """What rocm-smi answered with `--json`: a dictionary by card, warnings before it."""
    try:
        cards = json_value(answer[answer.index("{") :])
    except ValueError:
        return []
    found = []
    for name in sorted(
        (name for name in cards if re.fullmatch(r"card\d+", name)), key=lambda name: int(name[4:])
    ):
        said = {key.lower(): str(value).strip() for key, value in cards[name].items()}
        names = (said.get(key, "") for key in ("card series", "card model", "market name"))
        series = next((one for one in names if one and one != "N/A" and not one.startswith("0x")), "AMD GPU")
        total = next((value for key, value in said.items() if "vram total memory" in key), "")
        found.append(Installed(series, int(total) / 2**30 if total.isdigit() else None))
    return found


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _mib(text: str) -> float | None:
    digits = re.sub(r"[^\d.]", "", text)
    return float(digits) / 1024 if digits else None


def ask_ahead() -> None:
    """Start the question that `installed` will ask, so that the driver answers (.02 to .3 s) beside other work."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    command = tuple(_query(FIELDS))
    path = os.environ.get("PATH", "")
    is_hidden = hidden is not None and hidden.strip() in {"", "-1"}
    if is_hidden or (command, path) in _ASKED or shutil.which(command[0]) is None:
        return
    with suppress(OSError):
        _ASKED[command, path] = _started(command)


def _output(command: list[str]) -> str:
    """What a command says; each is asked once, since no card comes or goes while a process lasts."""
    key = (tuple(command), os.environ.get("PATH", ""))
    found = _ASKED.get(key)
    if not isinstance(found, str):
        found = _ASKED[key] = _said(found, key[0])
    return found


_ASKED: dict[tuple[tuple[str, ...], str], subprocess.Popen[str] | str] = {}
"""Answers, and what is still to answer, by command and the path that its program is looked for in."""


def _started(command: tuple[str, ...]) -> subprocess.Popen[str]:
    environment = {**os.environ, "LC_ALL": "C"}
    silent, said = subprocess.DEVNULL, subprocess.PIPE
    return subprocess.Popen(
        command, stdin=silent, stdout=said, stderr=silent, text=True, errors="replace", env=environment
    )


def _said(running: subprocess.Popen[str] | None, command: tuple[str, ...]) -> str:
    """Its answer; empty where it fails, or takes longer than 20 s."""
    try:
        running = running or _started(command)
    except OSError:
        return ""
    with running:
        try:
            answer, _ = running.communicate(timeout=LONGEST_ANSWER_S)
        except subprocess.TimeoutExpired:
            running.kill()
            return ""
    return answer if running.returncode == 0 else ""


LONGEST_ANSWER_S = 20.0
