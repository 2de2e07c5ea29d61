"""What a run builds in its own folder where no data or no model is named: the demo's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from medgrpo.files import sync_files, write_json
from medgrpo.training.run.checkpoints import MARKER, is_complete

if TYPE_CHECKING:
    from medgrpo.config.sections import RunConfig
    from medgrpo.data.prepared import PreparedDataset
    from medgrpo.training.run.state import Run


def demo_dataset(run: Path, config: RunConfig, *, is_main_process: bool) -> PreparedDataset:
    """The generated demo set, in the run's folder `demo/data`."""
    from medgrpo.data.demo import write_demo_dataset
    from medgrpo.data.prepared import PreparedDataset

    folder = run / "demo" / "data"
    if not (folder / "dataset.json").is_file() and is_main_process:
        folder.parent.mkdir(parents=True, exist_ok=True)
        return write_demo_dataset(folder, seed=config.run.seed)
    return PreparedDataset.open(folder)


def demo_model(run: Run) -> Path:
    """The demo-size model, in the run's folder `demo/model`; its tokenizer is fitted to the data's texts."""
    from medgrpo.data.prompts import build_messages, build_target
    from medgrpo.models.demo import build_demo_model

    folder = run.writer.path / "demo" / "model"
    if is_complete(folder) or not run.is_main_process:
        return folder
    template = run.checks.template

    def texts() -> Iterator[str]:
        for row in run.rows:
            yield from (message["content"] for message in build_messages({**row, "images": []}, template))
            yield from (build_target(row, template), build_target({**row, "chosen": None}, template))

    build_demo_model(folder, texts(), seed=run.config.run.seed)
    sync_files(folder)
    write_json(folder / MARKER, {"seed": run.config.run.seed})
    return folder


def built_in_mask_model(run: Run, name: str) -> Path:
    """A mask model that is built here, in the run's folder `start`: its adapter then has a base that can be found."""
    from medgrpo.segmentation.segmenters import load_segmenter

    folder = run.writer.path / "start"
    if is_complete(folder) or not run.is_main_process:
        return folder
    segmenter = load_segmenter(name, seed=run.config.run.seed, prompt=run.config.masks.prompt)
    segmenter.save(folder)
    sync_files(folder)
    write_json(folder / MARKER, {"seed": run.config.run.seed, "built": name})
    return folder
