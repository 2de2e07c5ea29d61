"""What is sent to a colocated vLLM, and that a sync which did nothing is seen."""

import copy
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from medgrpo.errors import MedgrpoError
from medgrpo.training.trainers.vllm_gap import SamplerGap
from medgrpo.training.trainers.vllm_sync import (
    asked_for,
    can_send_adapter,
    check_taken,
    policy_weights,
    send_weights,
)


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.o_proj, self.norm = torch.nn.Linear(6, 6, bias=False), torch.nn.LayerNorm(6)

    def get_decoder(self):
        return self


class Plain(torch.nn.Module):
    base_model_prefix = "model"

    def __init__(self):
        super().__init__()
        self.model = Block()


@pytest.fixture
def model():
    torch.manual_seed(0)
    adapted = get_peft_model(Plain(), LoraConfig(r=2, target_modules=["o_proj"]))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    return adapted


def test_the_adapter_is_added_to_what_is_sent_and_not_to_the_trainers_weights(model):
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    merged = dict(copy.deepcopy(model).merge_and_unload().named_parameters())
    sent = dict(policy_weights(model, only_adapted=False))
    assert sent.keys() == merged.keys()
    for name, weight in sent.items():
        torch.testing.assert_close(weight, merged[name])
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    assert list(dict(policy_weights(model, only_adapted=True))) == ["model.o_proj.weight"]


def sent_when_shared_out(rank, meeting, model, sent):
    """One of two processes: FSDP2 shares the model out, and what goes to vLLM is noted."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    fully_shard(model.base_model.model.model, mesh=mesh)
    fully_shard(model, mesh=mesh)
    assert can_send_adapter(trainer_of(model, is_fsdp_enabled=True))
    receiver = Receiver()
    for is_first in (True, False):
        receiver.given.clear()
        send_weights(generation_around(receiver), model, is_first=is_first)
    torch.save((receiver.given, receiver.inside.state_dict()), f"{sent}-{rank}")
    torch.distributed.destroy_process_group()


def trainer_of(model, *, is_fsdp_enabled=False):
    generation = SimpleNamespace(mode="colocate", tensor_parallel_size=1, enable_sleep_mode=False)
    return SimpleNamespace(
        vllm_generation=generation, model=model, is_fsdp_enabled=is_fsdp_enabled, is_deepspeed_enabled=False
    )


def test_under_fsdp_each_process_gives_its_vllm_the_whole_merged_weights(model, tmp_path):
    merged = copy.deepcopy(model).merge_and_unload().state_dict()
    torch.multiprocessing.spawn(
        sent_when_shared_out, (tmp_path / "meeting", model, tmp_path / "sent"), nprocs=2
    )
    for rank in range(2):
        given, held = torch.load(f"{tmp_path}/sent-{rank}")
        assert given == ["model.o_proj.weight"]
        assert held.keys() == merged.keys()
        for name, weight in held.items():
            torch.testing.assert_close(weight, merged[name])


class Receiver(torch.nn.Module):
    """What a colocated vLLM is to a sync: takes weights by name and says which."""

    def __init__(self, *, does_nothing=False):
        super().__init__()
        self.inside, self.does_nothing, self.given = Plain(), does_nothing, []

    def load_weights(self, weights):
        own = dict(self.inside.named_parameters())
        for name, weight in weights:
            self.given.append(name)
            if not self.does_nothing:
                own[name].data.copy_(weight)
        return set(self.given)


def generation_around(receiver):
    runner = SimpleNamespace(model=receiver)
    worker = SimpleNamespace(driver_worker=SimpleNamespace(model_runner=runner))
    llm = SimpleNamespace(
        llm_engine=SimpleNamespace(model_executor=worker), reset_prefix_cache=lambda: resets.append(1)
    )
    resets = []
    return SimpleNamespace(llm=llm, resets=resets)


def test_after_the_first_time_only_what_the_adapter_changes_is_sent(model):
    receiver = Receiver()
    generation = generation_around(receiver)
    send_weights(generation, model, is_first=True)
    assert len(receiver.given) == 3
    receiver.given.clear()
    with torch.no_grad():
        model.base_model.model.model.o_proj.lora_B["default"].weight.add_(1)
    send_weights(generation, model, is_first=False)
    assert receiver.given == ["model.o_proj.weight"]
    expected = dict(policy_weights(model, only_adapted=True))["model.o_proj.weight"]
    torch.testing.assert_close(receiver.inside.model.o_proj.weight.data, expected)
    assert len(generation.resets) == 2


def test_a_sync_that_did_nothing_stops_the_run(model):
    with pytest.raises(MedgrpoError, match="sample from an old policy"):
        send_weights(generation_around(Receiver(does_nothing=True)), model, is_first=False)
    with pytest.raises(MedgrpoError, match="took none"):
        check_taken({}, {}, taken=0)


def test_several_completions_a_request_and_no_words_only_inside():
    generation = SimpleNamespace(generation_kwargs={"seed": 3})
    with asked_for(generation, 8):
        assert generation.generation_kwargs == {"seed": 3, "n": 8, "detokenize": False}
    assert generation.generation_kwargs == {"seed": 3}
    with asked_for(generation, 0, (5, 6)):
        assert generation.generation_kwargs["logit_bias"] == {5: -100.0, 6: -100.0}
    with asked_for(generation, 0):
        assert generation.generation_kwargs == {"seed": 3, "detokenize": False}


@pytest.mark.parametrize("mode", ["sequence_mask", "sequence_truncate", "token_mask", "token_truncate"])
def test_the_ratio_to_the_sampler_by_hand(mode):
    trainer = torch.log(torch.tensor([[0.5, 0.5, 0.9], [0.2, 0.4, 0.9]]))
    sampler = torch.log(torch.tensor([[0.25, 0.5, 0.1], [0.4, 0.1, 0.1]]))
    sampler[1, 0] = torch.nan  # vLLM knew none: a ratio of 1
    gap = SamplerGap(trainer, sampler, torch.tensor([[1, 1, 0], [1, 1, 0]]))
    # By token 2, 1 and 1, 4; by completion 2 × 1 and 1 × 4; what is masked counts 1.
    expected = {
        "sequence_mask": [[2.0], [0.0]],
        "sequence_truncate": [[2.0], [3.0]],
        "token_mask": [[2.0, 1.0, 1.0], [1.0, 0.0, 1.0]],
        "token_truncate": [[2.0, 1.0, 1.0], [1.0, 3.0, 1.0]],
    }[mode]
    torch.testing.assert_close(gap.ratio(mode, None, 3.0), torch.tensor(expected))
    accelerator = SimpleNamespace(gather=lambda value: value)
    mean = gap.metrics(gap.ratio(mode, None, 3.0), accelerator)["sampling/sampling_logp_difference/mean"]
    # |log 2|, 0, |log 4| over the three tokens that both know
    assert mean == pytest.approx(torch.log(torch.tensor(8.0)).item() / 3)
