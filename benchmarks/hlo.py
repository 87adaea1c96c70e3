"""The text of a compiled program (HLO): its computations, and the bytes that they move."""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

FUSIONS = {"fusion", "fusion-start"}
SLICES = {"slice", "dynamic-slice", "gather"}


class Instruction(NamedTuple):
    name: str
    shape: str
    operation: str
    operands: tuple[str, ...]
    attributes: str
    is_root: bool


Computation = list[Instruction]
Module = dict[str, Computation]


def parse(text: str) -> tuple[Module, str]:
    """The computations of a module by name, and the name of its entry."""
    module: Module = {}
    current: Computation = []
    entry = ""
    for line in re.sub(r"/\*.*?\*/", "", text).splitlines():
        if match := re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{\s*$", line):
            current = module[match[2]] = []
            entry = match[2] if match[1] else entry
        elif match := re.match(r"\s+(ROOT )?%?([\w.\-]+) = (.*)$", line):
            shape, rest = enclosed(match[3])
            operation, rest = rest.lstrip().split("(", 1)
            operands, attributes = enclosed("(" + rest)
            names = tuple(re.findall(r"%([\w.\-]+)", operands))
            is_root = match[1] is not None
            current.append(Instruction(match[2], shape, operation, names, attributes, is_root))
    return module, entry


def enclosed(text: str) -> tuple[str, str]:
    """What stands in the brackets at the beginning, or else up to the first space, and the rest."""
    if not text.startswith("("):
        first, _, rest = text.partition(" ")
        return first, rest
    depth = 0
    for end, letter in enumerate(text, start=1):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return text[:end], text[end:]
    raise ValueError(f"no end of the brackets in {text[:80]}")


def names_after(keys: Sequence[str], attributes: str) -> list[str]:
    """Computations that an instruction calls under these names, in the order of the names."""
    found = []
    for key in keys:
        if match := re.search(rf"\b{key}=(\{{[^}}]*\}}|%?[\w.\-]+)", attributes):
            found += re.findall(r"[\w.\-]+", match[1])
    return found


def fused_by(module: Module, instruction: Instruction) -> Computation:
    (name,) = names_after(("calls",), instruction.attributes)
    return module[name]


def num_bytes_moved(module: Module, instruction: Instruction, shapes: dict[str, str]) -> int:
    if instruction.operation in FUSIONS:
        return num_bytes_of_fusion(fused_by(module, instruction))
    if instruction.operation.endswith("-start"):  # a tuple of what goes in and what comes out
        return num_bytes(instruction.shape)
    if instruction.operation in SLICES:
        return 2 * num_bytes(instruction.shape)
    if instruction.operation == "dynamic-update-slice":
        return 2 * num_bytes(shapes[instruction.operands[1]])
    operands = dict.fromkeys(instruction.operands)
    return num_bytes(instruction.shape) + sum(num_bytes(shapes[name]) for name in operands)


def num_bytes_of_fusion(fused: Computation) -> int:
    """Of arrays that are only sliced, or updated in place, those of the slices."""
    by_name = {i.name: i for i in fused}

    def read(array: Instruction) -> int:
        total = 0
        for user in (i for i in fused if array.name in i.operands):
            is_index = array.name in user.operands[1:]
            if user.operation == "dynamic-update-slice" and not is_index:
                continue  # in place
            if user.operation not in SLICES or is_index:
                return num_bytes(array.shape)
            total += num_bytes(user.shape)
        return total

    def written(result: Instruction) -> int:
        if result.operation == "tuple":
            return sum(written(by_name[name]) for name in result.operands)
        if result.operation == "bitcast":
            return written(by_name[result.operands[0]])
        if result.operation == "dynamic-update-slice":
            return num_bytes(by_name[result.operands[1]].shape)
        return num_bytes(result.shape)

    (root,) = (i for i in fused if i.is_root)
    return written(root) + sum(read(i) for i in fused if i.operation == "parameter")


def num_bytes(shape: str) -> int:
    """Of an array or a tuple, such as ``(f32[100,2]{1,0}, pred[])``."""
    total = 0
    for kind, dims in re.findall(r"\b([a-z]+[0-9]*)[a-z0-9]*\[([0-9,]*)\]", shape):
        bits = re.sub(r"\D", "", kind)
        each = max(1, int(bits) // 8) if bits else int(kind == "pred")
        total += each * math.prod(int(dim) for dim in dims.split(",") if dim)
    return total
