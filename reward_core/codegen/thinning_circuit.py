"""Write `src/thinning_rule.rs`: the thinning rule as Boolean circuits.

The rule is a table over the eight neighbours of a foreground pixel. As a reduced ordered binary decision
diagram it needs about thirty nodes a pass. Each node is one multiplexer, evaluated for 64 pixels a word and,
with AVX-512, for 512 pixels an instruction. All 8! variable orders are tried; the smallest diagram wins.
Without AVX-512 a multiplexer is three instructions, and shorter circuits of plain gates are used (`SHORT`).

    python reward_core/codegen/thinning_circuit.py > reward_core/src/thinning_rule.rs
"""

from itertools import permutations

NAMES = ("nw", "n", "ne", "e", "se", "s", "sw", "w")  # bit 0 .. bit 7 of a neighbourhood's index

# Neighbourhoods whose centre goes, as scikit-image 0.26 decides (`skeletonize`, method "zhang"). They are not
# the textbook's: 25 of the 256 neighbourhoods differ from Zhang and Suen 1984, doi:10.1145/357994.358023.
# fmt: off
PASSES = {
    "first": (
        3, 6, 7, 10, 11, 12, 14, 15, 28, 30, 31, 40, 60, 112, 120, 124, 130, 131, 134, 135, 143, 159, 160, 161,
        193, 194, 195, 198, 199, 207, 225, 227, 231, 240, 241, 243,
    ),
    "second": (
        7, 10, 15, 24, 26, 28, 30, 31, 40, 56, 60, 62, 63, 96, 104, 108, 112, 120, 124, 126, 130, 135, 160, 176,
        192, 193, 195, 199, 224, 225, 240, 241, 248, 249, 252,
    ),
}
# fmt: on

# Circuits of gates with two inputs for processors that cannot fold three, found by random search: replace a gate or
# one of its inputs at will, keep what still gives the table, drop what nothing uses (some 10 million trials a second,
# ten seconds, the best of six). Signals 0 to 7 are the neighbours, 8 and on the gates; `>` is "not the first, and the
# second". `mask_tests.rs` holds them against the table.
# fmt: off
SHORT = {
    "first": (
        ">4,1 |3,8 >3,0 ^7,3 &8,7 >1,4 &6,10 >12,6 ^1,11 ^13,15 &0,16 ^18,7 &3,19 ^11,13 &14,21 |10,21 "
        "^17,22 >24,5 ^15,25 >1,16 &2,9 >26,23 |27,29 |25,22 &31,30 >26,28 >2,32 &30,8 |34,33 >20,36 |35,37 "
    ),
    "second": (
        "^5,7 >0,5 >1,5 >4,2 ^8,3 >9,6 >4,12 ^14,10 ^13,15 >16,7 ^13,17 >18,1 |11,12 |0,14 >0,3 ^5,20 >21,23 "
        ">22,2 |24,6 |25,18 >5,24 |2,28 |23,10 >27,26 ^29,0 >32,19 ^33,31 &30,34 "
    ),
}
# fmt: on

Node = tuple[int, int, int]  # variable, node if 0, node if 1; nodes 0 and 1 are the constants


def diagram(removed: tuple[int, ...], order: tuple[int, ...]) -> tuple[list[Node], int]:
    """The reduced diagram of a rule for one variable order, as nodes in dependency order, and its root."""
    values = [0] * 256
    for index in removed:
        position = sum((index >> variable & 1) << (7 - level) for level, variable in enumerate(order))
        values[position] = 1
    nodes: list[Node] = []
    known: dict[Node, int] = {}
    row = values
    for variable in reversed(order):
        merged = []
        for low, high in zip(row[::2], row[1::2], strict=True):
            if low == high:
                merged.append(low)
                continue
            node = (variable, low, high)
            if node not in known:
                nodes.append(node)
                known[node] = len(nodes) + 1
            merged.append(known[node])
        row = merged
    return nodes, row[0]


def gates(nodes: list[Node]) -> int:
    """How many AND, OR, NOT and XOR operations the nodes need."""
    cost = 0
    for _, low, high in nodes:
        if low > 1 and high > 1:
            cost += 3
        else:
            cost += 0 if (low, high) == (0, 1) else 1
    return cost


def expression(node: Node) -> str:
    """One node as Rust."""
    variable, low, high = node
    x = NAMES[variable]
    simple = {(0, 1): x, (1, 0): f"!{x}"}
    if (low, high) in simple:
        return simple[low, high]
    half = {low == 0: f"{x} & t{high}", high == 0: f"!{x} & t{low}"}
    half |= {low == 1: f"!{x} | t{high}", high == 1: f"{x} | t{low}"}
    return half.get(True, f"t{low} ^ ({x} & (t{low} ^ t{high}))")


def short_circuit(text: str) -> list[str]:
    """Lines of Rust for a circuit of `SHORT`."""
    lines = []
    gates = text.split()
    for number, gate in enumerate(gates, start=8):
        first, second = (
            NAMES[int(signal)] if int(signal) < 8 else f"t{signal}" for signal in gate[1:].split(",")
        )
        forms = {">": f"!{first} & {second}", "!": f"!{first}"}
        lines.append(f"    let t{number} = {forms.get(gate[0], f'{first} {gate[0]} {second}')};")
    return [*lines, f"    t{len(gates) + 7}"]


def head(name: str) -> str:
    """The signature of a circuit."""
    return (
        "#[allow(clippy::too_many_arguments, clippy::many_single_char_names)] // the eight neighbours\n"
        f"#[inline(always)]\npub fn {name}<W: Bits>({', '.join(f'{v}: W' for v in NAMES)}) -> W {{"
    )


def main() -> None:
    """Print the module."""
    print(
        "//! The thinning rule, 64 pixels at a time. Written by `codegen/thinning_circuit.py`: change it there.\n"
        "//!\n"
        "//! Each bit of a word is one pixel; the eight arguments hold that pixel's neighbours.\n"
        '//! Behaviour: scikit-image\'s `skeletonize` (method "zhang"), pass by pass.\n\n'
        "#![allow(clippy::inline_always, clippy::let_and_return)] // generated; compiled for each processor\n\n"
        "use std::ops::{BitAnd, BitOr, BitXor, Not};\n\n"
        "/// A word, or several side by side.\n"
        "pub trait Bits:\n"
        "    Copy + BitAnd<Output = Self> + BitOr<Output = Self> + BitXor<Output = Self> + Not<Output = Self>\n{\n}\n\n"
        "impl Bits for u64 {}\n\n"
        "/// Neighbourhoods (bit 0 north-west, clockwise) whose centre a pass removes."
    )
    print("#[cfg(any(test, fuzzing))]\npub const REMOVED: [&[u8]; 2] = [")
    for removed in PASSES.values():
        numbers = ", ".join(map(str, removed))
        print(f"    &[{numbers}],")
    print("];")
    for name, removed in PASSES.items():
        options = (
            (gates(diagram(removed, order)[0]), len(diagram(removed, order)[0]), order)
            for order in permutations(range(8))
        )
        cost, size, order = min(options)
        nodes, root = diagram(removed, order)
        names = " ".join(NAMES[v] for v in order)
        print(f"\n/// Which pixels the {name} pass removes: {size} nodes, {cost} gates, order {names}.")
        print(head(f"{name}_pass"))
        for number, node in enumerate(nodes, start=2):
            print(f"    let t{number} = {expression(node)};")
        print(f"    t{root}\n}}")
    for name, text in SHORT.items():
        print(
            f"\n/// The {name} pass in {len(text.split())} gates of two inputs: fewer, where three do not fold into one."
        )
        print(head(f"{name}_pass_short"))
        print("\n".join(short_circuit(text)) + "\n}")


if __name__ == "__main__":
    main()
