"""The few numbers of the cost model that no data sheet gives. Fitted by `benchmarks/fit_estimate.py` to the rows of
`measured.csv` that are marked for it; the other rows are the test (BENCHMARKS.md, "The estimate beside what was measured").

Rates and shares hold for every card. Times of launches are those of the code and its host: a faster card does not
shorten them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Constants:
    """What the model multiplies data sheets and counts with."""

    matmul: float = 0.513
    """Share of the bf16 peak that large products of training reach."""
    prefill: float = 0.3
    """The same when prompts are read for sampling."""
    prefill_s: float = 0.03
    """What reading a step's prompts takes besides, where they are shared: packing, and copies of their cache."""
    bandwidth: float = 0.724
    """Share of the memory bandwidth that element-wise passes and the reading of weights reach."""
    hidden_passes: float = 30.4
    """How often a layer's forward pass reads or writes a token's hidden state, beside its products."""
    mlp_passes: float = 8.21
    """The same of the wide state of the MLP."""
    layer_s: float = 0.000636
    """Launches of one decoder layer forward in Python, without an adapter."""
    lora_s: float = 0.000703
    """What an unmerged LoRA adds to it."""
    fused_s: float = 0.0006
    """What a LoRA adds whose product is one with its layer's (`engine.fused_adapters`)."""
    dora_s: float = 0.0004
    """What DoRA's launches add to LoRA's."""
    dora_bytes: float = 90.0
    """Bytes that DoRA moves for each adapted weight in a forward pass: the norm of every weight with its adapter anew."""
    qlora_s: float = 0.0002
    """What 4-bit weights under LoRA add."""
    autograd: float = 1.91
    """A layer's launches forward while gradients are recorded, against without."""
    stream: float = 1.23
    """A layer's launches over a stream of groups that share prompts, against stock."""
    backward_launches: float = 2.6
    """Launches backward against forward, recomputing apart."""
    sharded_launches: float = 2.7
    """A layer's launches while sampling under ZeRO-3 or FSDP, which gather it each time."""
    fsdp_sync_s: float = 0.039
    """One adapted weight into vLLM where FSDP shares weights out and TRL sends them: every tensor is made whole by itself."""
    gathered_sync_s: float = 0.00115
    """The same under ZeRO-3, and under FSDP where an adapter alone is sent."""
    fsdp_layer_s: float = 0.0004
    """What FSDP's hooks take for a layer, each time that it is gathered."""
    zero3_module_s: float = 0.00017
    """The same of ZeRO-3's hooks for a module."""
    other_launches: float = 0.39
    """Launches of other trainers (16-bit adapters on fused layers, no autocast) against ours; for the table alone."""
    recorded_s: float = 0.136e-3
    """The small kernels of a decoder layer for one token from a recorded step."""
    recorded_lora_s: float = 0.11e-3
    """What an adapter adds to them."""
    vision_layer_s: float = 0.0018
    """Launches of one layer of the vision tower forward."""
    window_s: float = 6.01e-05
    """Attention of one window of one layer of a tower whose windows Transformers takes one by one, forward."""
    vision_backward: float = 4.86
    """A tower's launches backward and recomputed against forward."""
    vision_share: float = 0.173
    """Share of the bf16 peak in the vision tower."""
    dequantise: float = 0.44
    """Share of the memory bandwidth at which 4-bit weights become bf16 ones (4.5 bytes moved a weight)."""
    vllm_step_s: float = 1.5e-3
    """Scheduling of one decoding step of vLLM."""
    vllm_row_s: float = 32e-6
    """What each further completion adds to a step of vLLM: sampling, log probabilities, text."""
    vllm_bandwidth: float = 0.705
    """Share of the memory bandwidth at which vLLM reads weights and cache."""
    sync_module_s: float = 0.000293
    """One adapted weight on its way into vLLM."""
    step_s: float = 0.0477
    """What a step takes besides: data, log, schedule, clipping."""
    batch_s: float = 0.012
    """What was sampled becomes a batch, of a step."""
    sample_s: float = 0.0009
    """The same of each completion."""
    adapter_switch_s: float = 14e-6
    """PEFT's switching of adapters off and on, for each module of the model that it walks over (measured on a processor: .046
    and .039 s for the 3,361 and 2,697 modules of Qwen2.5-VL 3B and 7B)."""
    recompute_switch_s: float = 6.5e-6
    """The same of recomputation, which DPO's reference pass goes without (.021 and .018 s)."""
    picture_s: float = 0.006
    """A prompt through the processor, its picture apart."""
    pixel_s: float = 1.6e-08
    """One pixel through the image processor."""
    text_reward_s: float = 6e-05
    """Text rewards of one completion."""
    link: float = 0.6
    """Share of the link's rate that collectives reach."""
    collective_s: float = 6e-05
    """Latency of one collective."""
    mask_sam_s: float = 0.52
    """SAM 2's encoder and decoder with their gradients on one picture at 1024 px."""
    mask_judge_s: float = 0.004
    """One drawn mask of 1024 px: decoded, judged, its likelihood."""
    cpu_drawn_s: float = 0.045
    """One mask of 1024 px drawn on a processor, with its likelihood and what its pixels earned."""
    cpu_picture_s: float = 0.02
    """A picture's turn on a processor beside network and masks."""
    convolution: float = 0.42
    """Share of the float32 peak that a U-Net's convolutions reach."""
    cpu_matmul: float = 1.0
    """Share of a processor's rate (`processor`, by its base clock) that products reach."""
    cpu_elements: float = 0.18
    """Element-wise work on a processor: share of `bandwidth`, since it computes and does not only move."""
    cpu_token_s: float = 2.4e-3
    """Drawing one token on a processor, beside the model: for all completions together."""
    cpu_op: float = 0.15
    """Launches on a CPU against those of a GPU's host loop: nothing is handed to a device."""


@dataclass(frozen=True)
class MemoryConstants:
    """What memory is counted with beside sizes."""

    context_gib: float = 0.6
    """CUDA context and kernels, outside of what torch counts."""
    slack: float = 0.05
    """What torch's allocator reserves beyond what is used, as a share of what changes from step to step."""
    workspace_gib: float = 0.15
    """cuBLAS workspaces and small buffers."""
    hidden_kept: float = 20.0
    """Copies of a token's hidden state that one recomputed layer holds at most, in 16 bits."""
    mlp_kept: float = 8.0
    """The same of the wide state."""
    logit_bytes: float = 10.0
    """Bytes of each logit where all are held at once (SFT): 16 bits, float32 and its gradient."""
    vision_kept: float = 12.0
    """Copies of a patch's state that one layer of the tower holds, in 16 bits, beside one for each layer."""
    sam_gib: float = 1.1
    """SAM 2 large in 16 bits, and what its pass over one picture of 1024 px holds."""
    vllm_gib: float = 2.0
    """What vLLM needs beside weights and cache: CUDA graphs, the batch that it profiles itself with."""
    reserve: float = 0.95
    """Share of the memory that can be filled before fragmentation makes it fail."""


FITTED = Constants()
MEMORY = MemoryConstants()
