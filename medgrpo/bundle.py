"""Everything that an installation without a network needs, in one folder: wheels, the lock, a script that installs."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from medgrpo.errors import MedgrpoError
from medgrpo.files import write_json, write_text
from medgrpo.install import how_to_install
from medgrpo.locks import new_folder
from medgrpo.packages import Package, needed_packages, own_distribution

LOCK = "requirements.lock"
SCRIPT = "install.sh"
_AT_ONCE = 16
"""Packages that one pip fetches: it keeps them twice, on the disk of temporary files too, until it ends."""
_INSTALL = """#!/bin/sh
# Installs medgrpo from this folder alone, into the environment VENV (default: ./venv). Nothing is downloaded.
#   sh install.sh [VENV]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv=${{1:-venv}}
python=${{PYTHON:-python{version}}}
[ -e "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/python" -m pip install --no-index --no-deps --require-hashes --find-links "$here/wheels" -r "$here/{lock}"
"$venv/bin/python" -m pip check
"$venv/bin/medgrpo" --version
"""


def write_bundle(
    output: Path,
    extras: Sequence[str] = (),
    *,
    keep_gpu: bool = True,
    fetched: Callable[[int, int], None] | None = None,
) -> dict[str, object]:
    """Wheels of medgrpo and of every package that it needs, at the versions that are installed here.

    Args:
        output: new folder.
        extras: names of optional dependencies, such as `train`.
        keep_gpu: with the CUDA libraries where torch is the build that asks for them, several GiB.
        fetched: told how many of how many wheels are there.
    Returns:
        packages, bytes, python, platform.
    Raises:
        MedgrpoError: a package is not installed here, or there is no wheel of it; without `keep_gpu`: torch is the build for
            CUDA.
    """
    packages, missing = needed_packages(extras)
    if missing:
        names = ",".join(extras)
        raise MedgrpoError(
            f"not installed here: {', '.join(missing[:8])}",
            expected="an environment that works: the bundle takes its versions from it",
            hint=how_to_install(names) if names else None,
        )
    if not keep_gpu:
        refuse_cuda_builds(packages)
    with new_folder(output, "bundle into") as partial:
        wheels = partial / "wheels"
        wheels.mkdir()
        _own_wheel(wheels)
        for count in _download(wheels, [one for one in packages if one.name != "medgrpo"]):
            if fetched is not None:
                fetched(1 + count, len(packages))
        lines = _locked(wheels, packages)
        write_text(partial / LOCK, "".join(lines))
        version = ".".join(platform.python_version_tuple()[:2])
        write_text(partial / SCRIPT, _INSTALL.format(version=version, lock=LOCK))
        (partial / SCRIPT).chmod(0o755)
        about = {
            "packages": len(packages),
            "bytes": sum(file.stat().st_size for file in wheels.iterdir()),
            "python": version,
            "platform": f"{platform.system()} {platform.machine()}",
            "extras": list(extras),
        }
        write_json(partial / "bundle.json", about)
    return about


def refuse_cuda_builds(packages: Sequence[Package]) -> None:
    """Raise MedgrpoError where a package asks for CUDA: such a torch does not even import without its libraries."""
    libraries = [one for one in packages if one.name.startswith(("nvidia-", "cuda-", "triton"))]
    if not libraries:
        return
    version = next((one.version for one in packages if one.name == "torch"), "")
    index = "https://download.pytorch.org/whl/cpu"
    raise MedgrpoError(
        f"torch {version} here is the build for CUDA, which does not start without its {len(libraries)} libraries",
        expected="the build for processors, installed here",
        hint=f"leave --without-gpu out, or first: export PIP_EXTRA_INDEX_URL={index}; "
        f"pip install --force-reinstall torch torchvision --index-url {index}",
    )


def _own_wheel(wheels: Path) -> None:
    """The wheel of the medgrpo that runs: built from its checkout, else as it was downloaded."""
    here = own_distribution()
    direct = json.loads(here.read_text("direct_url.json") or "{}")
    url = urlsplit(str(direct.get("url", "")))
    place = Path(unquote(url.path)) if url.scheme == "file" else None
    if place is not None and place.suffix == ".whl" and place.is_file():
        (wheels / place.name).write_bytes(place.read_bytes())
    elif place is not None and place.is_dir():
        _pip("wheel", "--no-deps", "--wheel-dir", str(wheels), str(place))
    else:
        _pip(
            "download",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--dest",
            str(wheels),
            f"medgrpo=={here.version}",
        )


def _download(wheels: Path, packages: Sequence[Package]) -> Iterator[int]:
    """Gives how many are there after each call of pip."""
    names = [f"{one.name}=={one.version}" for one in packages]
    for start in range(0, len(names), _AT_ONCE):
        _pip("wheel", "--no-deps", "--wheel-dir", str(wheels), *names[start : start + _AT_ONCE])
        yield min(start + _AT_ONCE, len(names))


def _pip(*words: str) -> None:
    if find_spec("pip") is None:
        raise MedgrpoError(
            "this environment has no pip, which fetches the wheels", hint=f"{sys.executable} -m ensurepip"
        )
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pip", *words, "--quiet", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PIP_NO_INPUT": "1"},
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise MedgrpoError(
            f"pip {words[0]} failed: {said[-1] if said else f'exit {done.returncode}'}",
            expected="every wheel at the version that is installed here",
            hint=f"is the package index reached? try: {sys.executable} -m pip download --no-deps pip",
        )


def _locked(wheels: Path, packages: Sequence[Package]) -> list[str]:
    """A line for each wheel, with its hash."""
    from packaging.utils import parse_wheel_filename

    versions = {one.name: one.version for one in packages}
    lines = []
    for file in sorted(wheels.iterdir()):
        name, version, *_ = parse_wheel_filename(file.name)
        digest = sha256(file.read_bytes()).hexdigest()
        lines.append(f"{name}=={version} --hash=sha256:{digest}\n")
        versions.pop(str(name), None)
    if versions:
        raise MedgrpoError(
            f"no wheel of {', '.join(sorted(versions)[:8])}", expected="one wheel of each package"
        )
    return lines
