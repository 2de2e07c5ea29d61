"""medgrpo: fine-tune medical vision-language models by reward."""

from medgrpo.telemetry import switch_off

__version__ = "0.1.0"

switch_off()
