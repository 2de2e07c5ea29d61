"""The demo model, built once for the generation tests."""

from pathlib import Path

import pytest

from medgrpo.data.demo import demo_texts
from medgrpo.models.demo import build_demo_model


@pytest.fixture(scope="session")
def demo_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_demo_model(tmp_path_factory.mktemp("demo") / "model", demo_texts(), seed=3)
