"""The rooms of ARCHITECTURE.md are the rooms of the code: who imports whom, and no circles."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GROUND_FLOOR = "ground floor"


def _modules() -> dict[str, Path]:
    found = {}
    for path in sorted((ROOT / "medgrpo").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    for path in sorted((ROOT / "cli").glob("*.py")):  # medgrpo/cli is a link
        found[f"medgrpo.cli.{path.stem}".removesuffix(".__init__")] = path
    return found


MODULES = _modules()


def _imports(tree: ast.AST, *, is_eager: bool) -> set[str]:
    """Our modules that a module imports; `is_eager`: only where it is loaded, not inside functions."""
    found = set()
    waiting = list(ast.iter_child_nodes(tree))
    while waiting:
        node = waiting.pop()
        if is_eager and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if is_eager and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in MODULES}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found |= {
                    name for name in ([inner] if inner in MODULES else [node.module]) if name in MODULES
                }
        waiting += ast.iter_child_nodes(node)
    return found - {"medgrpo"}


def _room(module: str) -> str:
    return module.split(".")[1]


def _table() -> dict[str, set[str] | None]:
    """Room -> what it may import; None is everything."""
    rooms: dict[str, set[str] | None] = {}
    ground: set[str] = set()
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if len(cells) != 3 or not re.match(r"`(medgrpo/|cli/)", cells[0]):
            continue
        names = [re.sub(r"^medgrpo/|/$|\.py$", "", name) for name in re.findall(r"`([^`]+)`", cells[0])]
        if cells[1].startswith("the ground floor"):
            ground |= set(names)
        said = re.sub(r"\([^)]*\)", "", cells[2]).strip(" |")
        allowed = None if said == "everything" else {word.strip(" `") for word in said.split(",")}
        rooms.update(dict.fromkeys(names, allowed))
    return {
        room: allowed and (allowed | ground if GROUND_FLOOR in allowed else allowed)
        for room, allowed in rooms.items()
    }


def test_each_room_imports_only_what_the_table_in_architecture_allows() -> None:
    table = _table()
    assert len(table) > 10, "the table of rooms was not found in ARCHITECTURE.md"
    wrong = []
    for module, path in MODULES.items():
        if module == "medgrpo":
            continue
        room = _room(module)
        assert room in table, f"{module} lies in a room that ARCHITECTURE.md does not name"
        allowed = table[room]
        for imported in _imports(ast.parse(path.read_text(encoding="utf-8")), is_eager=False):
            if allowed is not None and _room(imported) != room and _room(imported) not in allowed:
                wrong.append(f"{module} imports {imported}")
    assert not wrong


def test_rooms_have_no_circle() -> None:
    table = _table()
    graph = {room: (allowed or set(table) - {room}) & set(table) for room, allowed in table.items()}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise AssertionError(f"rooms import each other in a circle: {error.args[1]}") from error


def test_modules_have_no_circle() -> None:
    graph = {
        module: _imports(ast.parse(path.read_text(encoding="utf-8")), is_eager=False) - {module}
        for module, path in MODULES.items()
    }
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise AssertionError(
            f"modules import each other in a circle: {' -> '.join(error.args[1])}"
        ) from error


def test_unsafe_rust_stands_in_simd_alone_and_each_block_says_why_it_holds() -> None:
    unsafe = re.compile(r"\bunsafe\b(?!_code)")
    outside, unexplained = [], []
    for path in sorted((ROOT / "reward_core/src").rglob("*.rs")):
        lines = path.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines):
            code = line.split("//")[0]
            if not unsafe.search(code):
                continue
            where = f"{path.relative_to(ROOT)}:{number + 1}"
            if path.parent.name != "simd":
                outside.append(where)
            elif not any("// SAFETY:" in before for before in lines[max(0, number - 4) : number]):
                unexplained.append(where)
    assert outside == []
    assert unexplained == []
    lints = (ROOT / "Cargo.toml").read_text() + (ROOT / "reward_core/Cargo.toml").read_text()
    assert 'unsafe_code = "deny"' in lints
