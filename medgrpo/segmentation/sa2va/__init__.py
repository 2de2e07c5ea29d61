"""Sa2VA: a vision-language model whose [SEG] token prompts SAM 2 (Yuan et al. 2025, arXiv:2501.04001)."""
