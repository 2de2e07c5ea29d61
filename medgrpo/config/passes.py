"""How many tokens a pass of the update takes, when each prompt is in it once."""

from __future__ import annotations

STREAM_TOKENS = 1.4
"""Tokens of a stream that take no more memory than one of TRL's pass: measured at .42–.44 GiB a thousand beside
.60–.76, which hold copies of the pictures and of what the tower makes of them."""
MANY_TOKENS = 8_192
"""With fewer a GPU waits for its kernels to be launched: on an H200 a pass of 3,300 tokens took .40 s, one of 6,700 .39,
13,400 .63. With more than these a pass of small pictures takes more memory than TRL's."""
MANY_TOKENS_SHARED_OUT = 32_768
"""The same where the weights are shared out (ZeRO-3, FSDP): each pass gathers them three times, so that on two H200s four
passes of two prompts took two to four times as long as with whole weights."""
SHARE_OF_FREE = 0.5
"""Of the memory that weights, optimiser and vLLM leave, what a pass may take."""


def tokens_of_a_pass(usual: int, fitting: int, *, shared_out: bool = False) -> int:
    """Most tokens of a pass where the user does not say (`engine.tokens_per_pass`).

    Args:
        usual: tokens of the pass that TRL would take.
        fitting: as many as fit into the free memory; 0 where it is not known, as on a CPU.
        shared_out: whether each pass gathers the weights from other processes.
    """
    many = MANY_TOKENS_SHARED_OUT if shared_out else MANY_TOKENS
    return max(int(STREAM_TOKENS * usual), min(many, fitting))


def bytes_of_a_token(layers: int, hidden: int, intermediate: int) -> float:
    """Memory of one token of a stream in bfloat16, where each layer is computed again: what is kept between the layers, and
    the work within one.

    12.5 makes .44 GiB a thousand tokens on Qwen2.5-VL-3B, where .25 to .44 were measured.
    """
    return 2.0 * layers * hidden + 12.5 * 2 * (hidden + intermediate)
