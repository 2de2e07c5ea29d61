"""medgrpo: fine-tune medical vision-language models by reward."""

from medgrpo.safe_path import leave_the_working_folder

leave_the_working_folder()

from medgrpo.telemetry import switch_off  # noqa: E402

__version__ = "0.1.0"

switch_off()
