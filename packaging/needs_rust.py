"""The build backend: maturin, after a look whether Rust is here, so that its lack is said before anything is built."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import maturin
from maturin import *

CARGO_TOML = Path(__file__).resolve().parent.parent / "Cargo.toml"
HOW = """
  Linux, macOS:   curl https://sh.rustup.rs -sSf | sh -s -- -y && . "$HOME/.cargo/env"
  then again:     {again}

A wheel needs no Rust: pip install medgrpo-*.whl, where you were given one (docs/install.md).
"""


def _least():
    """The oldest Rust that the crate builds with, as (major, minor)."""
    found = re.search(r'^rust-version = "(\d+)\.(\d+)', CARGO_TOML.read_text(encoding="utf-8"), re.MULTILINE)
    return (int(found[1]), int(found[2])) if found else (1, 0)


def look_for_rust():
    """End with a message where cargo is missing or too old."""
    least = _least()
    wanted = f"medgrpo's reward core is compiled from Rust, and needs cargo {least[0]}.{least[1]} or later"
    cargo = shutil.which("cargo")
    again = 'pip install ".[train]"'
    if cargo is None:
        sys.exit(f"\n{wanted}: cargo was not found.\n{HOW.format(again=again)}")
    said = subprocess.run([cargo, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"(\d+)\.(\d+)", said)
    if found and (int(found[1]), int(found[2])) < least:
        sys.exit(f"\n{wanted}: this is {said.strip()}.\n  rustup update\n  then again: {again}\n")


def get_requires_for_build_wheel(config_settings=None):
    """What the build of a wheel needs, once Rust is here."""
    look_for_rust()
    return maturin.get_requires_for_build_wheel(config_settings)


def get_requires_for_build_editable(config_settings=None):
    """What an editable install needs, once Rust is here."""
    look_for_rust()
    return maturin.get_requires_for_build_editable(config_settings)


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    """The metadata; cargo is asked for it too."""
    look_for_rust()
    return maturin.prepare_metadata_for_build_wheel(metadata_directory, config_settings)


prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel
