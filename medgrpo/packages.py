"""What medgrpo stands on: the packages of its extras as they are installed here, their licences, a bill of materials."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from medgrpo.errors import MedgrpoError, choice_error, missing_extra

_NAME = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[([^\]]*)\])?\s*([^;]*)(?:;(.*))?$")
_COPYLEFT = re.compile(r"\b(A?GPL|LGPL|MPL|EPL|CDDL|EUPL|GNU|Mozilla)", re.IGNORECASE)


@dataclass(frozen=True)
class Package:
    """One installed package."""

    name: str
    version: str
    licence: str
    """As its metadata says: an SPDX expression, else its classifiers; `unknown` where there is neither."""
    needed_by: str

    @property
    def is_copyleft(self) -> bool:
        """Whether passing it on has conditions of its own (GPL, LGPL, MPL and their like)."""
        return _COPYLEFT.search(self.licence) is not None


def extras() -> list[str]:
    """The names of the optional dependencies, such as `train`."""
    return own_distribution().metadata.get_all("Provides-Extra") or []


def own_distribution() -> Distribution:
    """What is known of medgrpo as it is installed.

    Raises:
        MedgrpoError: it runs from its source without being installed.
    """
    try:
        return distribution("medgrpo")
    except PackageNotFoundError as error:
        raise MedgrpoError(
            "medgrpo runs from its source here and is not installed, so that nothing says what it needs",
            hint="pip install -e FOLDER_OF_THE_SOURCE",
        ) from error


def needed_packages(wanted: Sequence[str] = ()) -> tuple[list[Package], list[str]]:
    """Every package that medgrpo with these extras needs here, by name; and those that are not installed.

    Raises:
        UsageError: there is no such extra.
    """
    for extra in wanted:
        if extra not in extras():
            raise choice_error("extra", extra, extras())
    found: dict[str, Package] = {}
    missing: set[str] = set()
    waiting = [("medgrpo", frozenset(wanted), "")]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, chosen, parent = waiting.pop()
        key = plain_name(name)
        if (key, chosen) in seen:
            continue
        seen.add((key, chosen))
        try:
            here = distribution(name)
        except PackageNotFoundError:
            missing.add(key)
            continue
        found.setdefault(key, Package(key, here.version, _licence(here), parent))
        waiting += [(one, more, key) for one, more in _requirements(here, chosen)]
    return sorted(found.values(), key=lambda one: one.name), sorted(missing)


def plain_name(name: str) -> str:
    """The name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _requirements(here: Distribution, extras_of_it: frozenset[str]) -> list[tuple[str, frozenset[str]]]:
    found = []
    for text in here.requires or ():
        match = _NAME.match(text)
        if match is None:
            continue
        name, more, _, marker = match.groups()
        if marker is None or any(_holds(marker, extra) for extra in ("", *extras_of_it)):
            found.append((name, frozenset(filter(None, (one.strip() for one in (more or "").split(","))))))
    return found


def _holds(marker: str, extra: str) -> bool:
    from packaging.markers import Marker

    return Marker(marker).evaluate({"extra": extra})


def _licence(here: Distribution) -> str:
    about: Any = here.metadata  # a message, whose `get` its type does not say
    if stated := about.get("License-Expression"):
        return str(stated)
    classifiers = [
        one.rpartition(" :: ")[2]
        for one in about.get_all("Classifier") or ()
        if one.startswith("License ::") and one.count("::") > 1
    ]
    if classifiers:
        return " and ".join(classifiers)
    text = (about.get("License") or "").strip()
    return text.splitlines()[0][:60] if text else "unknown"


def write_bill(packages: Sequence[Package], path: Path) -> None:
    """A bill of materials in CycloneDX 1.6, as JSON.

    Raises:
        MedgrpoError: the package that writes it is not installed.
    """
    try:
        from cyclonedx.contrib.license.factories import LicenseFactory
        from cyclonedx.model.bom import Bom
        from cyclonedx.model.component import Component, ComponentType
        from cyclonedx.output import make_outputter
        from cyclonedx.schema import OutputFormat, SchemaVersion
        from packageurl import PackageURL
    except ImportError as error:
        raise missing_extra("cyclonedx-python-lib", "supply", "a bill of materials") from error
    from medgrpo.files import write_text

    licences = LicenseFactory()
    components = {
        one.name: Component(
            name=one.name,
            version=one.version,
            type=ComponentType.APPLICATION if one.name == "medgrpo" else ComponentType.LIBRARY,
            purl=PackageURL("pypi", name=one.name, version=one.version),
            bom_ref=f"{one.name}=={one.version}",
            licenses=[] if one.licence == "unknown" else [licences.make_from_string(one.licence)],
        )
        for one in packages
    }
    root = components.pop("medgrpo")
    bill = Bom(components=components.values())
    bill.metadata.component = root
    for one in packages:
        if one.needed_by:
            parent = components.get(one.needed_by, root)
            bill.register_dependency(parent, [components[one.name]])
    written = make_outputter(bill, OutputFormat.JSON, SchemaVersion.V1_6)
    write_text(path, written.output_as_string(indent=1) + "\n")
