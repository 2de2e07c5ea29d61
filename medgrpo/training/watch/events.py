"""TensorBoard's event files, without the name of the machine and its folders in them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medgrpo.places import written_places


def event_writer(folder: Path, purge_step: int | None = None) -> Any:
    """A `SummaryWriter` into this folder.

    Args:
        folder: made when absent.
        purge_step: what an earlier file shows from this step on is not shown.
    """
    from torch.utils.tensorboard import SummaryWriter

    class EventWriter(SummaryWriter):
        """Texts name folders as they are seen from the event file; its name has `local` for the machine."""

        def _get_file_writer(self) -> Any:
            with _machine_unnamed():
                return super()._get_file_writer()

        def add_text(self, tag: str, text_string: str, *args: Any, **kwargs: Any) -> None:
            super().add_text(tag, written_places(text_string, folder), *args, **kwargs)

    return EventWriter(log_dir=str(folder), purge_step=purge_step)


@contextmanager
def _machine_unnamed() -> Iterator[None]:
    """TensorBoard asks for the machine's name at one place, and takes no other."""
    before, socket.gethostname = socket.gethostname, lambda: "local"
    try:
        yield
    finally:
        socket.gethostname = before
