"""GiB on the fullest GPU of a run, part by part."""

from __future__ import annotations

from medgrpo.estimate.workload import Workload

GIB = 2**30
FRAMEWORK_GIB = 1.5  # CUDA context, kernels, allocator slack
RESERVE = 0.92  # share of the memory that can be filled before fragmentation makes it fail


def memory_gib(work: Workload) -> dict[str, float]:
    """GiB by part (weights, gradients, optimizer, activations, logits, kv_cache, vllm, framework) and `peak`.

    A frozen base is bf16 (4-bit with qlora); what is trained, its gradients and AdamW's two moments are fp32,
    since small updates vanish in bf16. Generation and update do not overlap: the peak takes the larger.
    """
    shape, config = work.shape, work.config
    bytes_per_weight = {"qlora": 0.56, "full": 4.0}.get(config.tuning.method, 2.0)
    trained = shape.lora_parameters(config.tuning.rank) if work.has_lora else shape.parameters
    trained_bytes = 4
    weights = shape.parameters * bytes_per_weight + (trained * trained_bytes if work.has_lora else 0)
    if config.training.beta > 0 and not work.has_lora and work.method.has_reference:
        weights += 4.0 * shape.parameters  # the reference model; a LoRA run switches the adapter off instead
    gradients, optimizer = 1.0 * trained * trained_bytes, 2.0 * trained * trained_bytes
    if (config.launch.deepspeed or config.launch.fsdp) and work.gpus > 1:
        gradients, optimizer = gradients / work.gpus, optimizer / work.gpus
        if config.launch.deepspeed == "zero3" or config.launch.fsdp:
            weights /= work.gpus
    micro: float = work.plan.per_device_train_batch_size * work.method.sequences
    tokens = micro * (work.prompt_tokens + config.rollout.max_completion_length)
    pictures = micro
    if work.shares_prompt:
        pictures, micro = work.groups_per_pass, work.groups_per_pass * work.generations
        tokens = pictures * work.prompt_tokens + micro * config.rollout.max_completion_length
    one_layer = tokens * (10 * shape.hidden + 4 * shape.mlp_used) * 2
    kept = tokens * shape.hidden * 2 * shape.layers
    activations = kept + one_layer if work.checkpoints_activations else one_layer * shape.layers
    patches = shape.patches_per_token * work.image_tokens
    vision = pictures * patches * (10 * shape.vision_hidden + 4 * shape.vision_mlp) * 2
    # Logits of the completion in bf16, their fp32 copy and its gradient.
    logits = micro * config.rollout.max_completion_length * shape.vocab * 10
    engine = config.rollout.engine if work.method.samples_texts else None
    uses_vllm = engine == "vllm" and config.vllm.mode == "colocate"
    kv = 0.0
    if engine == "transformers":
        length = work.prompt_tokens + config.rollout.max_completion_length
        kv = work.plan.samples_per_step / work.gpus * length * shape.layers * 2 * shape.kv_width * 2
    vllm = config.vllm.gpu_memory_utilization * work.gpu.memory_gib * GIB if uses_vllm else 0.0
    parts = {
        "weights": weights,
        "gradients": gradients,
        "optimizer": optimizer,
        "activations": activations + vision,
        "logits": logits,
        "kv_cache": kv,
        "vllm": vllm,
        "framework": FRAMEWORK_GIB * GIB,
    }
    update = parts["gradients"] + parts["activations"] + parts["logits"]
    peak = weights + optimizer + vllm + parts["framework"] + max(update, kv)
    return {name: value / GIB for name, value in parts.items()} | {"peak": peak / GIB}


def fits(work: Workload) -> bool:
    """Whether the peak leaves the reserve free."""
    return memory_gib(work)["peak"] <= RESERVE * work.gpu.memory_gib
