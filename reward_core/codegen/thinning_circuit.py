"""Write `src/thinning_rule.rs`: the thinning rule as Boolean circuits.

The rule is a table over the eight neighbours of a foreground pixel. A circuit of gates with two inputs evaluates it for
64 pixels a word and, with AVX2, 256 pixels an instruction; the compiler folds gates into instructions of three inputs
where the processor has them.

    python reward_core/codegen/thinning_circuit.py > reward_core/src/thinning_rule.rs
"""

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

# Found by random search: replace a gate or one of its inputs at will, keep what still gives the table, with a few spare
# gates that may drift, and drop what nothing uses (some 6 million trials a second, 440 seconds, the best of six; ten
# seconds gave 38 and 40 gates, the smallest decision diagrams 64 and 62). Signals 0 to 7 are the neighbours, 8 and on
# the gates; `>` is "not the first, and the second".
# fmt: off
CIRCUITS = {
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


def evaluate(circuit: str, index: int) -> bool:
    """What a circuit says of one neighbourhood."""
    signals = [bool(index >> number & 1) for number in range(8)]
    for gate in circuit.split():
        first, second = (signals[int(signal)] for signal in gate[1:].split(","))
        signals.append(
            {"&": first and second, "|": first or second, "^": first != second, ">": second and not first}[
                gate[0]
            ]
        )
    return signals[-1]


def lines(circuit: str) -> list[str]:
    """A circuit as lines of Rust."""
    written = []
    gates = circuit.split()
    for number, gate in enumerate(gates, start=8):
        first, second = (
            NAMES[int(signal)] if int(signal) < 8 else f"t{signal}" for signal in gate[1:].split(",")
        )
        form = f"!{first} & {second}" if gate[0] == ">" else f"{first} {gate[0]} {second}"
        written.append(f"    let t{number} = {form};")
    return [*written, f"    t{len(gates) + 7}"]


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
        circuit = CIRCUITS[name]
        wrong = [index for index in range(256) if evaluate(circuit, index) != (index in removed)]
        if wrong:
            raise ValueError(f"the circuit of the {name} pass differs from its table at {wrong}")
        print(f"\n/// Which pixels the {name} pass removes, in {len(circuit.split())} gates of two inputs.")
        print(head(f"{name}_pass"))
        print("\n".join(lines(circuit)) + "\n}")


if __name__ == "__main__":
    main()
