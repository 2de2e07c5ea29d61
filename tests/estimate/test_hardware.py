"""Cards are found by their driver's names, and by nothing that only looks like one."""

import pytest

from medgrpo.errors import UsageError
from medgrpo.estimate import hardware
from medgrpo.estimate.hardware import GPUS, Installed, find_gpu, match_card, read_nvidia, read_rocm

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
    "name", ["NVIDIA GeForce RTX 5070 Laptop GPU", "NVIDIA A1000", "Tesla K80", "NVIDIA GeForce GTX 1080 Ti"]
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
    monkeypatch.setattr(hardware, "installed", lambda: here)
    gpu, source = find_gpu("auto")
    assert gpu.memory_gib == 64.0
    assert "NVIDIA A100-SXM4-64GB" in source


def test_of_unlike_cards_the_smallest_memory_counts(monkeypatch):
    here = [Installed("NVIDIA GeForce RTX 4090", 24.0), Installed("NVIDIA GeForce RTX 3060", 12.0)]
    monkeypatch.setattr(hardware, "installed", lambda: here)
    gpu, source = find_gpu("auto")
    assert (gpu.name, gpu.memory_gib) == ("RTX4090", 12.0)
    assert "RTX 3060" in source


def test_an_unknown_card_is_said_to_be_one(monkeypatch):
    monkeypatch.setattr(hardware, "installed", lambda: [Installed("NVIDIA Rubin R100", 288.0)])
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


def test_rocm_smi_is_read():
    answer = '{"card0": {"Card Series": "AMD Instinct MI300X", "VRAM Total Memory (B)": "206141652992"}}'
    (card,) = read_rocm(answer)
    assert card.memory_gib == pytest.approx(191.98, abs=0.1)
    assert match_card(card.name).name == "MI300X"


def test_without_a_gpu_the_processor_is_taken_and_said(monkeypatch):
    monkeypatch.setattr(hardware.shutil, "which", lambda name: None)
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
    from medgrpo.estimate.hardware import visible

    assert [card.name for card in visible([Installed("a"), Installed("b"), Installed("c")], said)] == left
