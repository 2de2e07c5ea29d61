"""Libraries that report to their makers are told not to, before any of them is imported.

They read these names once, while they are imported; `import medgrpo` therefore sets them, for commands and
for programs that use the library alike. What is set already has been asked for and stays.
"""

from __future__ import annotations

import os
import sys

SILENT = {
    "DO_NOT_TRACK": "1",  # vLLM, mlflow, gradio and others
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub, and through it transformers, datasets, trl, trackio, gradio
    "DISABLE_TELEMETRY": "1",  # its older name, which diffusers and others still read
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "WANDB_ERROR_REPORTING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
}
"""Name → value that switches reports, and looks for newer versions, off."""


def switch_off() -> None:
    """Set the names, and the value that the hub's library has read already where it was imported first."""
    for name, value in SILENT.items():
        os.environ.setdefault(name, value)
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None and os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1":
        constants.HF_HUB_DISABLE_TELEMETRY = True  # type: ignore[attr-defined]
