"""Cards are found by their driver's names, and by nothing that only looks like one."""

import os
import time

import pytest

from medgrpo.config.presets import resolve_run
from medgrpo.errors import UsageError
from medgrpo.estimate import drivers
from medgrpo.estimate.drivers import Installed, read_nvidia, read_rocm, visible
from medgrpo.estimate.estimate import Facts, estimate
from medgrpo.estimate.hardware import GPUS, find_gpu, match_card

REAL = {  # names that drivers give, and the card each is
    "NVIDIA A100-SXM4-40GB": "A100-40GB",
    "NVIDIA A100-PCIE-40GB": "A100-40GB",
    "NVIDIA A100-SXM4-80GB": "A100",
    "NVIDIA A100 80GB PCIe": "A100-PCIe",
    "NVIDIA A800-SXM4-80GB": "A800",
    "NVIDIA A10": "A10",
    "NVIDIA A10G": "A10G",
    "NVIDIA A16": "A16",
    "NVIDIA A30": "A30",
    "NVIDIA A40": "A40",
    "NVIDIA L4": "L4",
    "NVIDIA L40": "L40",
    "NVIDIA L40S": "L40S",
    "NVIDIA L20": "L20",
    "NVIDIA H20": "H20",
    "NVIDIA H100 80GB HBM3": "H100",
    "NVIDIA H100 PCIe": "H100-PCIe",
    "NVIDIA H100 NVL": "H100-NVL",
    "NVIDIA H200": "H200",
    "NVIDIA GH200 480GB": "GH200",
    "NVIDIA B200": "B200",
    "Tesla T4": "T4",
    "Tesla V100-SXM2-16GB": "V100-16GB",
    "Tesla V100-SXM2-32GB": "V100",
    "Tesla V100-PCIE-32GB": "V100",
    "Quadro RTX 6000": "Quadro RTX 6000",
    "Quadro RTX 8000": "Quadro RTX 8000",
    "NVIDIA RTX A6000": "A6000",
    "NVIDIA RTX A5000": "A5000",
    "NVIDIA RTX 6000 Ada Generation": "RTX 6000 Ada",
    "NVIDIA RTX PRO 6000 Blackwell Server Edition": "RTX PRO 6000",
    "NVIDIA GeForce RTX 2080 Ti": "RTX2080Ti",
    "NVIDIA GeForce RTX 3090": "RTX3090",
    "NVIDIA GeForce RTX 3090 Ti": "RTX3090Ti",
    "NVIDIA GeForce RTX 4060 Ti": "RTX4060Ti",
    "NVIDIA GeForce RTX 4070 Ti SUPER": "RTX4070Ti SUPER",
    "NVIDIA GeForce RTX 4090": "RTX4090",
    "NVIDIA GeForce RTX 4090 Laptop GPU": "RTX4090 Laptop",
    "NVIDIA GeForce RTX 5090": "RTX5090",
    "AMD Instinct MI300X": "MI300X",
    "AMD Instinct MI250X": "MI250X",
    "Ascend910B3": "Ascend 910B",
}


@pytest.mark.parametrize(("name", "card"), REAL.items())
def test_a_driver_s_name_means_its_card_and_no_other(name, card):
    found = match_card(name)
    assert found is not None
    assert found.name == card


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA GeForce RTX 5070 Laptop GPU",
        "NVIDIA A1000",
        "Tesla K80",
        "NVIDIA GeForce GTX 1080 Ti",
        "NVIDIA RTX PRO 2000 Blackwell",
        "NVIDIA RTX PRO 5000 Blackwell Generation Laptop GPU",
        "NVIDIA GeForce RTX 2080 with Max-Q Design",
        "NVIDIA GeForce RTX 5080 SUPER",
        "NVIDIA RTX 5000 Ada Generation Laptop GPU",
        "NVIDIA L40G",
    ],
)
def test_a_card_that_is_not_in_the_table_is_not_taken_for_one_that_is(name):
    assert match_card(name) is None


def test_every_card_has_figures_that_belong_together_and_a_source():
    assert len(GPUS) >= 40
    for card in GPUS.values():
        assert card.source
        assert 2 <= card.memory_gib <= 300
        assert 0.005 < card.bf16_tflops / card.bandwidth_gb_s < 0.6  # floating-point operations a byte
        assert match_card(card.name) is card
        assert all(match_card(name) is card for name in card.names)
    assert not {"T4", "V100"} & {card.name for card in GPUS.values() if card.has_bf16}


@pytest.mark.parametrize(
    "typed", ["rtx4090", "RTX 4090", "a100-40gb", "A100_40GB", "h100", "RTX6000Ada", "4090"]
)
def test_names_are_taken_as_people_type_them(typed):
    assert find_gpu(typed)[1] == "named"


def test_a_name_that_is_none_is_refused():
    with pytest.raises(UsageError, match="no GPU called 'H2000'"):
        find_gpu("H2000")


def test_memory_is_what_the_driver_says():
    assert read_nvidia("NVIDIA A100-SXM4-40GB, 40960\n") == [Installed("NVIDIA A100-SXM4-40GB", 40.0)]
    assert read_nvidia("NVIDIA H200\n") == [Installed("NVIDIA H200", None)]


def test_a_card_with_other_memory_than_the_table_s_keeps_its_own(monkeypatch):
    here = [Installed("NVIDIA A100-SXM4-64GB", 64.0), Installed("NVIDIA A100-SXM4-64GB", 64.0)]
    monkeypatch.setattr(drivers, "installed", lambda: here)
    gpu, source = find_gpu("auto")
    assert gpu.memory_gib == 64.0
    assert "NVIDIA A100-SXM4-64GB" in source


def test_of_unlike_cards_the_smallest_memory_counts(monkeypatch):
    here = [Installed("NVIDIA GeForce RTX 4090", 24.0), Installed("NVIDIA GeForce RTX 3060", 12.0)]
    monkeypatch.setattr(drivers, "installed", lambda: here)
    gpu, source = find_gpu("auto")
    assert (gpu.name, gpu.memory_gib) == ("RTX4090", 12.0)
    assert "RTX 3060" in source


def test_an_unknown_card_is_said_to_be_one(monkeypatch):
    monkeypatch.setattr(drivers, "installed", lambda: [Installed("NVIDIA Rubin R100", 288.0)])
    gpu, source = find_gpu("auto")
    assert not gpu.is_known
    assert gpu.memory_gib == 288.0
    assert "a guess" in source


def test_mig_slices_have_their_share_of_the_card():
    listed = "GPU 0: NVIDIA A100-SXM4-80GB (UUID: GPU-1)\n  MIG 3g.40gb     Device  0: (UUID: MIG-2)\n"
    (card,) = read_nvidia("NVIDIA A100-SXM4-80GB, 81920\n", listed)
    assert "3g.40gb" in card.name
    part, whole = find_gpu("A100 3g.40gb")[0], find_gpu("A100")[0]
    assert part.memory_gib == pytest.approx(40, rel=0.03)
    assert part.bf16_tflops == pytest.approx(whole.bf16_tflops * 3 / 7)
    assert part.bandwidth_gb_s == pytest.approx(whole.bandwidth_gb_s / 2)
    with pytest.raises(UsageError, match=r"no MIG profile 9g\.40gb"):
        find_gpu("A100 9g.40gb")


@pytest.mark.parametrize(
    ("name", "card", "gib", "share"),
    [
        ("GRID A100D-40C", "A100-PCIe", 40, 1),
        ("NVIDIA A40-12Q", "A40", 12, 1),
        ("NVIDIA RTXA6000-48Q", "A6000", 48, 1),
        ("GRID V100D-16Q", "V100", 16, 1),
        ("NVIDIA A100-3-20C", "A100", 20, 3 / 7),
        ("NVIDIA H100 80GB HBM3 MIG 1c.3g.40gb", "H100", 40, 1 / 7),
        ("H200 1g.18gb", "H200", 18, 1 / 7),
    ],
)
def test_a_part_of_a_card_has_its_memory_and_its_share_of_the_compute(name, card, gib, share):
    part, whole = find_gpu(name)[0], GPUS[card]
    assert part.name.startswith(whole.name)
    assert part.memory_gib == pytest.approx(gib, rel=0.03)
    assert part.bf16_tflops == pytest.approx(whole.bf16_tflops * share)


@pytest.mark.parametrize(
    ("typed", "card", "gib"),
    [
        ("RTX 3080 12GB", "RTX3080", 12),
        ("NVIDIA A100-SXM-64GB", "A100", 64),
        ("Tesla V100-DGXS-16GB", "V100-16GB", 16),
        ("V100 16GB", "V100-16GB", 16),
        ("4090 24GB", "RTX4090", 24),
        ("NVIDIA GH200 120GB", "GH200", 96),
    ],
)
def test_memory_in_a_name_counts(typed, card, gib):
    gpu = find_gpu(typed)[0]
    assert (gpu.name, gpu.memory_gib) == (card, gib)


def test_a_name_without_memory_takes_the_version_that_the_driver_tells(monkeypatch):
    monkeypatch.setattr(drivers, "installed", lambda: [Installed("NVIDIA A100-PG509-200", 39.4)])
    gpu, _ = find_gpu("auto")
    assert (gpu.name, gpu.bandwidth_gb_s, gpu.memory_gib) == ("A100-40GB", 1555, 39.4)


@pytest.mark.parametrize(
    ("name", "capability", "has_bf16"),
    [
        ("NVIDIA GeForce GTX 1660 SUPER", 7.5, False),
        ("NVIDIA T1000", 7.5, False),
        ("Quadro P6000", None, False),
        ("NVIDIA RTX A1000", 8.6, True),
    ],
)
def test_an_old_card_is_not_given_bfloat16_for_its_memory(monkeypatch, name, capability, has_bf16):
    monkeypatch.setattr(drivers, "installed", lambda: [Installed(name, 8.0, capability)])
    gpu, _ = find_gpu("auto")
    assert (gpu.has_bf16, gpu.is_known) == (has_bf16, False)


def test_memory_that_is_the_processor_s_is_taken_from_it(monkeypatch):
    for module in ("drivers", "hardware"):
        monkeypatch.setattr(f"medgrpo.estimate.{module}.host_memory_gib", lambda: 30.0)
    (orin,), (thor,) = read_nvidia("Orin (nvgpu), [N/A], 8.7\n"), read_nvidia("NVIDIA Thor, [N/A], 11.0\n")
    for card, known in ((orin, True), (thor, False)):
        monkeypatch.setattr(drivers, "installed", lambda card=card: [card])
        gpu, _ = find_gpu("auto")
        assert (gpu.memory_gib, gpu.is_known) == (30.0, known)


def test_the_driver_is_asked_once_where_there_are_no_slices_and_never_where_its_cards_are_hidden(monkeypatch):
    asked = []

    def answer(command):
        asked.append(command[1])
        return "NVIDIA H200, 143771, 9.0, GPU-1, Disabled\nNVIDIA H200, 143771, 9.0, GPU-2, Disabled\n"

    monkeypatch.setattr(drivers.shutil, "which", lambda name: "/bin/nvidia-smi" if "nvidia" in name else None)
    monkeypatch.setattr(drivers, "_output", answer)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-2")
    assert [card.ids for card in drivers.installed()] == [("GPU-2",)]
    assert len(asked) == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert drivers.installed() == []
    assert len(asked) == 1
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(drivers, "_output", lambda command: asked.append(command[1]) or "")
    assert drivers.installed() == []  # an old driver is asked for less
    assert [word.startswith("--query-gpu=name,memory.total") for word in asked[1:]] == [True, True, False]


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A program `nvidia-smi` of these shell lines; gives the file with a line for each time that it was called."""

    def make(*lines):
        program = tmp_path / "nvidia-smi"
        program.write_text("\n".join(["#!/bin/sh", f"echo called >> {tmp_path}/calls", *lines]))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        return tmp_path / "calls"

    return make


def test_a_whole_answer_with_its_advice_asks_the_driver_once(driver):
    calls = driver("echo 'NVIDIA H200, 143771, 9.0, GPU-1, Disabled'")
    drivers.ask_ahead()
    drivers.ask_ahead()
    config = resolve_run("balanced", model="Qwen2.5-VL-3B")[0].config
    found = estimate(config, Facts(model="Qwen2.5-VL-3B", size=512, samples=100, gpu="auto"))
    assert found.work.gpu.name == "H200"
    assert found.advice  # each line is estimated for itself
    assert len(calls.read_text().splitlines()) == 1


def test_a_driver_that_hangs_is_waited_for_once(driver, monkeypatch):
    monkeypatch.setattr(drivers, "LONGEST_ANSWER_S", 0.2)
    calls = driver("exec sleep 30")
    drivers.ask_ahead()
    begin = time.perf_counter()
    assert drivers.installed() == drivers.installed() == []
    assert time.perf_counter() - begin < 15
    assert len(calls.read_text().splitlines()) == 3  # once each: all fields, fewer, the list


def test_a_driver_that_fails_or_writes_no_text_is_no_card(driver):
    driver("printf '\\377\\376 broken'; exit 9")
    assert drivers.installed() == []


def test_slices_are_those_of_their_own_card_and_chosen_by_id():
    listed = (
        "GPU 0: NVIDIA L4 (UUID: GPU-aa)\nGPU 1: NVIDIA A100-SXM4-80GB (UUID: GPU-bb)\n"
        "  MIG 3g.40gb     Device  0: (UUID: MIG-c1)\n  MIG 1c.2g.20gb  Device  1: (UUID: MIG-c2)\n"
    )
    said = "NVIDIA L4, 23034, 8.9\nNVIDIA A100-SXM4-80GB, [Insufficient Permissions], 8.0\n"
    cards = read_nvidia(said, listed)
    names = ["NVIDIA L4", "NVIDIA A100-SXM4-80GB 3g.40gb", "NVIDIA A100-SXM4-80GB 1c.2g.20gb"]
    assert [card.name for card in cards] == names
    assert [card.name for card in visible(cards, "MIG-c2")] == names[2:]
    assert [card.name for card in visible(cards, "GPU-bb")] == names[1:]
    assert visible(cards, "GPU-zz") == []


def test_what_rocm_smi_says_before_and_leaves_out_does_no_harm():
    answer = (
        'WARNING: AMD GPU device(s) is/are in a low-power state.\n{"card10": {"Card Series": "N/A", "Card Model": "0x74a1", '
        '"Market Name": "AMD Instinct MI300X"}, "card2": {"Card series": "AMD Radeon Pro W7900", '
        '"VRAM Total Memory (B)": "N/A"}, "system": {"Driver version": "6.8"}}'
    )
    assert read_rocm(answer) == [Installed("AMD Radeon Pro W7900"), Installed("AMD Instinct MI300X")]


def test_rocm_smi_is_read():
    answer = '{"card0": {"Card Series": "AMD Instinct MI300X", "VRAM Total Memory (B)": "206141652992"}}'
    (card,) = read_rocm(answer)
    assert card.memory_gib == pytest.approx(191.98, abs=0.1)
    assert match_card(card.name).name == "MI300X"


def test_without_a_gpu_the_processor_is_taken_and_said(monkeypatch):
    monkeypatch.setattr(drivers.shutil, "which", lambda name: None)
    gpu, source = find_gpu("auto")
    assert gpu.is_cpu
    assert "processor" in source


@pytest.mark.parametrize(
    ("said", "left"),
    [
        (None, ["a", "b", "c"]),
        ("", []),
        ("-1", []),
        ("1", ["b"]),
        ("2, 0", ["c", "a"]),
        ("0,7,1", ["a"]),
        ("GPU-8f2a", ["a", "b", "c"]),
    ],
)
def test_a_hidden_gpu_is_not_there(said, left):
    assert [card.name for card in visible([Installed("a"), Installed("b"), Installed("c")], said)] == left
