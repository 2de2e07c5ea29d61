"""medgrpo: fine-tune medical vision-language models by reward."""

__version__ = "0.1.0"
