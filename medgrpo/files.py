"""Files that are whole or absent: written under another name, put on the disk, renamed. JSON in and out.

Secrets are masked, except in data (what a model wrote stays as it wrote it); NaN becomes null, halves of surrogate
pairs question marks. `medgrpo.records` reads lines back, ours and others'.
"""

from __future__ import annotations

import json
import math
import os
import platform
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

from medgrpo.errors import MedgrpoError
from medgrpo.json_in import TwoValues, json_value
from medgrpo.masking import masked
from medgrpo.places import without_places, written_places

PARTIAL = ".partial"
"""How the names end under which files are written."""
DEEPEST = 64
"""Levels of tables and lists that settings may have; what walks through them is recursive."""


@contextmanager
def written_aside(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """The name to write `path` under; it gets its own name when the block ends without an error.

    Args:
        durable: wait until the data is on the disk, so that a power cut leaves the old file or the new one.
    """
    partial = partial_name(path)
    remove_left_over(path.parent)
    try:
        yield partial
        if durable:
            sync(partial)
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if durable:
        sync(path.parent)


def partial_name(path: Path) -> Path:
    """The name that this process writes `path` under; it says who writes, so that others see whether it still does."""
    return path.with_name(f".{path.name}.{os.getpid()}-{_machine()}{PARTIAL}")


@cache
def _machine() -> str:
    """A few letters for this machine; a process number means nothing on another one that shares the disk."""
    return blake2b(os.fsencode(platform.node()), digest_size=3).hexdigest()


_LOOKED_AT: set[Path] = set()


def remove_left_over(folder: Path, *, again: bool = False) -> None:
    """Remove what killed processes of this machine left half-written in a folder.

    Args:
        again: look also where this process has looked before: a listing for each file would be quadratic.
    """
    if folder in _LOOKED_AT and not again:
        return
    _LOOKED_AT.add(folder)
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            writer = re.fullmatch(rf"\..+\.(\d+)(-{_machine()})?{re.escape(PARTIAL)}", entry.name)
            if writer is None or _is_running(int(writer[1])):
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                os.unlink(entry.path)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def write_bytes(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write the file as a whole."""
    with written_aside(path, durable=durable) as partial:
        partial.write_bytes(data)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write the file as a whole, in UTF-8, without secrets; halves of surrogate pairs become question marks.

    A page names files by their last name alone: people pass it on.
    """
    if path.suffix == ".html":
        text = without_places(text)
    write_bytes(path, masked(text).encode("utf-8", errors="replace"), durable=durable)


def cache_folder() -> Path:
    """What is kept between runs: `$MEDGRPO_CACHE`, or `~/.cache/medgrpo`."""
    return Path(os.environ.get("MEDGRPO_CACHE") or Path.home() / ".cache" / "medgrpo").expanduser()


HOLE_BYTES, HOLE_RATIO = 2**30, 256
"""A file larger than this, of which the disk holds less than one part in so many, has no data: no file system presses text so much."""


def check_regular(path: Path) -> None:
    """Refuse what is no file on a disk: a pipe may never end, a device may be endless, a hole is read as so many zeros.

    Raises:
        MedgrpoError: the path is a pipe, a socket, a device or a hole.
    """
    kind = kind_of(path)
    if kind is not None:
        raise _no_file(path, kind)


def open_regular(path: Path) -> IO[bytes]:
    """The file, opened to be read and looked at afterwards, so that nothing can be put in its place in between.

    Raises:
        MedgrpoError: it is a pipe, a socket, a device or a hole.
        OSError: it cannot be opened.
    """
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        kind = _kind(os.fstat(number))
        if kind is not None:
            raise _no_file(path, kind)
        return os.fdopen(number, "rb")  # refuses a folder
    except BaseException:
        os.close(number)
        raise


def _no_file(path: Path, kind: str) -> MedgrpoError:
    return MedgrpoError(
        f"{path} is a {kind}, not a file", expected="a file on a disk", hint="write it to a file first"
    )


def kind_of(path: Path) -> str | None:
    """What a path is that is neither file nor folder, links followed: pipe, socket, device, or a hole (a file whose size
    the disk does not hold); None for those two, and where nothing is."""
    try:
        return _kind(path.stat())
    except (OSError, ValueError):
        return None


def _kind(about: os.stat_result) -> str | None:
    mode = about.st_mode
    if (
        stat.S_ISREG(mode)
        and about.st_size > HOLE_BYTES
        and 512 * about.st_blocks * HOLE_RATIO < about.st_size
    ):
        return f"hole (its size says {about.st_size / 2**30:,.0f} GiB, of which the disk holds {about.st_blocks / 2**21:,.1f})"
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    return "pipe" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"


def write_json(
    path: Path, document: Any, *, durable: bool = True, is_data: bool = False, at: Path | None = None
) -> None:
    """Write a JSON document as a whole, indented; absolute paths in it as they are seen from its folder.

    Args:
        is_data: rows of others, whose texts stay as they are.
        at: the folder that the file will lie in, where that is not beside the one it is written in.
    """
    here = at or path.parent
    plain = finite(document, None if is_data else lambda text: written_places(text, here))
    write_text(path, json.dumps(plain, ensure_ascii=False, indent=1) + "\n", durable=durable)


LONGEST_SETTINGS = 2**26
"""Bytes of a JSON file of settings: what it unfolds to takes up to sixteen times as much."""


def foreign_json(path: Path) -> Any:
    """The value in a JSON file of others that holds settings, not rows: `config.json`, `medgrpo.json`, an index of weights.

    Raises:
        MedgrpoError: it is a pipe, a socket, a device or a hole, or larger than `LONGEST_SETTINGS`.
        OSError: it cannot be read.
        ValueError: it is no JSON in UTF-8, nested too deeply, or has two values for one name.
    """
    return json_value(_settings(path))


def foreign_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file of others, such as the `config.toml` of a run; errors as `foreign_json` has them."""
    return toml_values(_settings(path).decode("utf-8"))


def _settings(path: Path) -> bytes:
    with open_regular(path) as opened:
        content = opened.read(LONGEST_SETTINGS + 1)
    if len(content) > LONGEST_SETTINGS:
        raise MedgrpoError(
            f"{path} is larger than {LONGEST_SETTINGS >> 20} MiB",
            expected="a file of settings, which is small",
        )
    return content


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file of ours; empty where there is none, or no whole one.

    Raises:
        MedgrpoError: it has two values for one name: nobody can say which counts.
    """
    try:
        text = path.read_text("utf-8") if kind_of(path) is None else "{}"
        document = json_value(text)
    except TwoValues as error:
        raise MedgrpoError(f"{path}: {error}", expected="one value for each name") from error
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a file of ours; empty where there is none, or no whole one."""
    try:
        return toml_values(path.read_text("utf-8") if kind_of(path) is None else "")
    except (OSError, ValueError):
        return {}


def toml_values(text: str) -> dict[str, Any]:
    """The tables of a text in TOML.

    Raises:
        ValueError: it is no TOML, nested deeper than `DEEPEST`, or has a number of thousands of digits.
    """
    import tomllib

    too_deep = f"it is nested deeper than {DEEPEST} levels"
    try:
        values = tomllib.loads(text)
    except RecursionError as error:
        raise ValueError(too_deep) from error
    level: list[Any] = [values]
    for _ in range(DEEPEST):
        level = [item for one in level for item in (one.values() if isinstance(one, dict) else one)]
        level = [item for item in level if isinstance(item, dict | list)]
        if not level:
            return values
    raise ValueError(too_deep)


def json_line(entry: Any) -> str:
    """The entry as one line of JSON without its line feed."""
    return json.dumps(finite(entry), ensure_ascii=False)


def write_lines(path: Path, entries: Iterable[Any]) -> None:
    """Write entries of data as lines of JSON, the file as a whole."""
    write_bytes(path, _lines_of(entries))


def append_lines(path: Path, entries: Iterable[Any], *, is_data: bool = False) -> None:
    """Append entries as lines of JSON in one write, which a kill of this process cannot take back.

    Args:
        is_data: what a model wrote, which stays as it is: secrets are not looked for.
    """
    shown = (
        entries
        if is_data
        else [finite(one, lambda text: written_places(text, path.parent)) for one in entries]
    )
    data = _lines_of(shown)
    with path.open("ab") as file:
        file.write(data if is_data else masked(data.decode("utf-8")).encode("utf-8"))


def _lines_of(entries: Iterable[Any]) -> bytes:
    return "".join(f"{json_line(entry)}\n" for entry in entries).encode("utf-8", errors="replace")


def finite(value: Any, on_text: Callable[[str], str] | None = None) -> Any:
    """The value as JSON can hold it: NaN and infinity are None, numpy scalars plain, paths text, sets lists.

    Args:
        on_text: what becomes of each text, keys too.
    """
    if isinstance(value, str | Path):
        return on_text(str(value)) if on_text else str(value)
    if isinstance(value, dict):
        return {
            on_text(str(key)) if on_text else str(key): finite(item, on_text) for key, item in value.items()
        }
    if getattr(value, "ndim", None) == 0:  # a numpy scalar, or a tensor of one number
        value = value.item()
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return [finite(item, on_text) for item in value]
    return value


def storable(value: Any) -> Any:
    """The value with halves of surrogate pairs, which no table holds, as question marks; lists and dicts through and through."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    return [storable(item) for item in value] if isinstance(value, list | tuple) else value


def rename_folder(partial: Path, path: Path, *, is_synced: bool = False) -> None:
    """Give a folder that was written under another name its own, all of its files on the disk before.

    An empty folder of that name makes room.

    Args:
        is_synced: those files that matter are on the disk already.
    """
    if is_synced:
        sync(partial)
    else:
        sync_files(partial)
    if path.exists():
        path.rmdir()
    partial.rename(path)
    sync(path.parent)


def sync_files(folder: Path) -> None:
    """Put every file of a folder on the disk; weights with the rights that new files have here."""
    for file in folder.rglob("*"):
        if file.is_file():
            _share_as_others(file)
            sync(file)
    sync(folder)


def _share_as_others(file: Path) -> None:
    """Let those read a file of weights who may read what else is written here: safetensors 0.8 shuts all others out.

    A file that has a second name is not only ours.
    """
    about = file.lstat()
    if file.suffix != ".safetensors" or not stat.S_ISREG(about.st_mode) or about.st_nlink > 1:
        return
    with suppress(OSError):  # a disk without rights
        file.chmod(stat.S_IMODE(about.st_mode) | (file.parent.stat().st_mode & 0o666))


def link_or_copy(source: Path | str, target: Path | str) -> None:
    """The file under a second name: a hard link where the disk allows, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def sync(path: Path) -> None:
    """Ask the system to put a file or folder on the disk before going on."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def folder_replaced(folder: Path) -> Iterator[Path]:
    """The folder to write into; when the block ends without an error it takes the place of `folder` in one step.

    What `folder` holds is there too, by hard link, so that what is not written again stays. A kill at any moment leaves
    the old folder or the new one; what it leaves beside is removed by the next call. The working directory and mount
    points cannot be replaced: they are written in place.
    """
    target = folder.resolve()
    target.mkdir(parents=True, exist_ok=True)
    if target == Path.cwd() or target in Path.cwd().parents or os.path.ismount(target):
        yield target
        return
    aside = partial_name(target)
    remove_left_over(target.parent, again=True)
    try:
        shutil.copytree(target, aside, copy_function=link_or_copy, symlinks=True)
        yield aside
        sync(aside)  # the files are on the disk already, each as it was written
        _exchange(aside, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)  # the old folder by now, or what was not finished
    sync(target.parent)


def _exchange(one: Path, other: Path) -> None:
    """Two folders exchange their names in one step where the system can (Linux), else in three."""
    import ctypes

    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
        at_folder, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
        if rename(at_folder, os.fsencode(one), at_folder, os.fsencode(other), exchange) == 0:
            return
    except (AttributeError, OSError):
        pass  # another system
    old = partial_name(other.with_name(f"{other.name}.old"))
    other.rename(old)
    one.rename(other)
    old.rename(one)
