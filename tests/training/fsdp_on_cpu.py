"""FSDP2 on the CPU: torch has it on gloo, accelerate 1.15 takes it up on GPUs alone."""

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

from medgrpo.training.before.launch import FSDP


def environment() -> dict[str, str]:
    """What `accelerate launch` tells the processes for our configuration."""
    told = {name.upper(): str(value) for name, value in FSDP.items()}
    return {"ACCELERATE_USE_FSDP": "true", **told}


def allow_fsdp() -> None:
    """Let accelerate take up FSDP where it would take up DDP."""
    original = AcceleratorState.__init__

    def init(self, *args, fsdp_plugin=None, **options):
        original(self, *args, fsdp_plugin=fsdp_plugin, **options)
        if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            PartialState._shared_state["distributed_type"] = DistributedType.FSDP
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin
            if self._mixed_precision != "no":
                fsdp_plugin.set_mixed_precision(self._mixed_precision)

    AcceleratorState.__init__ = init
