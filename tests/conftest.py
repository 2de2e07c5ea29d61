"""Fixtures that every test folder shares."""

import os
import shutil
from pathlib import Path

import pytest

# A command sets it for all that it starts; processes of the tests import `tests` from the checkout.
os.environ.setdefault("PYTHONSAFEPATH", "")

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MEDGRPO_RUN_HISTORY", "0")  # test runs teach later estimates nothing
ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("MEDGRPO_DATA", ROOT / "../shared/data")).resolve()
"""Real sample data, which not every machine has."""


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real sample data; set MEDGRPO_DATA to use another."""
    folder = DATA
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set MEDGRPO_DATA")
    return folder


@pytest.fixture(autouse=True)
def environment_as_before():
    """What a run sets in the environment for its libraries does not reach the next test."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window, through playwright; tests of pages skip where either is absent."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no chromium; on Debian: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()
