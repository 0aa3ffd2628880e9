"""Runs the PTX that Triton compiles, where no GPU is: one NumPy element per thread.

It knows the instructions of our kernel, all of which run in one straight line, and refuses others.
Memory is checked as a device would not: every access lies in a buffer and is aligned.
"""

import re

import numpy as np

UNSIGNED = {8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
SIGNED = {16: np.int16, 32: np.int32, 64: np.int64}
SIMPLE = {
    "abs": np.abs,
    "add": np.add,
    "and": np.bitwise_and,
    "max": np.maximum,
    "min": np.minimum,
    "neg": np.negative,
    "not": np.invert,
    "or": np.bitwise_or,
    "sub": np.subtract,
    "xor": np.bitwise_xor,
}
REGISTERS = {"%rd": 64, "%rs": 16, "%r": 32}


def run(text, arguments, grid, buffers):
    """Run all programs; ``buffers`` maps the address of a buffer to its bytes."""
    entry = text[text.index(".visible .entry") :]
    threads = int(re.search(r"\.reqntid (\d+)", entry).group(1))
    kinds = re.findall(r"\.param \.(u\d+)", entry)
    numbers = [*arguments, 0, 0][: len(kinds)]  # Triton adds two addresses of its own, not used
    parameters = {
        index: np.array([number % 2 ** int(kind[1:])], UNSIGNED[int(kind[1:])])
        for index, (kind, number) in enumerate(zip(kinds, numbers, strict=True))
    }
    code = list(_instructions(entry))
    for program in range(grid):
        Program(threads, program, parameters, buffers).run(code)


def _instructions(entry):
    body = entry[entry.index("{", entry.index(".reqntid")) + 1 :]
    body = re.sub(r"//.*|^\s*\.loc.*|^\$L\w+:", "", body, flags=re.MULTILINE)
    for line in body.split(";"):
        text = " ".join(line.split()).lstrip("} ")
        if text == "ret":
            return
        if text and ".reg" not in text:
            guard, operation, rest = re.fullmatch(r"(?:@(!?%p\d+) )?([\w.]+)\s*(.*)", text).groups()
            yield guard, operation, re.findall(r"\{[^}]*\}|\[[^]]*\]|[^\s,]+", rest)


class Program:
    def __init__(self, threads, program, parameters, buffers):
        self.threads = threads
        self.registers = {
            "%ctaid.x": np.full(threads, program, np.uint32),
            "%tid.x": np.arange(threads, dtype=np.uint32),
            "global_smem": np.zeros(threads, np.uint32),
        }
        self.parameters, self.buffers, self.shared = parameters, buffers, np.zeros(2**16, np.uint8)

    def run(self, code):
        with np.errstate(over="ignore"):
            for guard, operation, operands in code:
                if guard is None:
                    on = np.ones(self.threads, bool)
                else:
                    on = self.registers[guard.lstrip("!")] ^ guard.startswith("!")
                self.step(on, operation, operands)

    def step(self, on, operation, operands):
        name, *options = operation.split(".")
        kind = options[-1] if options else ""
        if name in ("ld", "st"):
            self.access(on, name, options, operands)
        elif name == "mov":
            self.move(on, kind, operands)
        elif name != "bar":
            assert on.all(), f"{operation} with a guard"
            to, *given = operands
            self.put(to, self.compute(name, options[:-1], kind, given))

    # --- registers --------------------------------------------------------------------------

    def get(self, operand, kind):
        """An operand of a type such as u32, s64 or b16; a wider register counts by its low part."""
        if kind == "pred":
            return self.registers.get(operand, operand != "0")
        bits, signed = int(kind[1:]), kind[0] == "s"
        if operand in self.registers:
            value = self.registers[operand].astype(UNSIGNED[bits])
        else:
            number = int(operand.rstrip("U"), 0)
            value = np.full(self.threads, number % 2**bits, UNSIGNED[bits])
        return value.view(SIGNED[bits]) if signed else value

    def put(self, register, value):
        if not register.startswith("%"):  # _, or a name for what is not needed
            return
        if value.dtype != bool:
            bits = REGISTERS[re.match("%[a-z]+", register).group()]
            value = value.view(UNSIGNED[8 * value.itemsize]).astype(UNSIGNED[bits])
        self.registers[register] = np.broadcast_to(value, self.threads)

    def move(self, on, kind, operands):
        to, given = operands
        if to.startswith("{"):
            value, half = self.get(given, kind), int(kind[1:]) // 2
            low, high = re.findall(r"[^\s{},]+", to)
            self.put(low, value.astype(UNSIGNED[half]))
            self.put(high, (value >> value.dtype.type(half)).astype(UNSIGNED[half]))
        elif given.startswith("{"):
            half = int(kind[1:]) // 2
            low, high = (self.get(x, kind) for x in re.findall(r"[^\s{},]+", given))
            self.put(to, low | high << high.dtype.type(half))
        else:
            value = self.get(given, kind)
            self.put(to, np.where(on, value, self.registers.get(to, value)))

    # --- memory -----------------------------------------------------------------------------

    def access(self, on, name, options, operands):
        space, kind = options[0], options[-1]
        place, names = operands if name == "st" else operands[::-1]
        registers = re.findall(r"[^\s{},]+", names)
        base, _, offset = place.strip("[]").replace(" ", "").partition("+")
        if space == "param":
            self.put(names, self.parameters[int(base.rpartition("_")[2])])
            return
        at = self.get(base, "u64" if space == "global" else "u32").astype(np.int64)[on]
        size = int(kind[1:]) // 8
        memory, at = self.find(space, at + int(offset or 0), size * len(registers))
        for index, register in enumerate(registers):
            cells = at[:, None] + index * size + np.arange(size)
            if name == "st":
                memory[cells] = self.get(register, kind)[on][:, None].view(np.uint8)
            else:
                value = np.zeros(self.threads, UNSIGNED[8 * size])
                value[on] = memory[cells].view(UNSIGNED[8 * size])[:, 0]
                self.put(register, value)

    def find(self, space, at, size):
        """The buffer that holds all of the addresses, and where in it they lie."""
        assert not (at % size).any(), "not aligned"
        candidates = self.buffers.items() if space == "global" else [(0, self.shared)]
        for start, memory in candidates:
            if at.size == 0 or (at.min() >= start and at.max() + size <= start + memory.size):
                return memory, at - start
        raise AssertionError(f"{space} memory at {at.min()} to {at.max()} is in no buffer")

    # --- operations -------------------------------------------------------------------------

    def compute(self, name, options, kind, given):
        if name in SIMPLE:
            return SIMPLE[name](*(self.get(operand, kind) for operand in given))
        return getattr(self, f"do_{name}")(options, kind, given)

    def do_mul(self, options, kind, given):
        if kind in ("f32", "f64"):  # nothing but IEEE 754: no .ftz, no .approx
            assert options in ([], ["rn"])
            a, b = (
                self.get(operand, f"b{kind[1:]}").view(f"f{int(kind[1:]) // 8}")
                for operand in given
            )
            return a * b
        a, b = (self.get(operand, kind) for operand in given)
        if options == ["lo"]:
            return a * b
        wide = a.astype(f"{a.dtype.kind}8") * b.astype(f"{a.dtype.kind}8")
        assert kind in ("u32", "s32")
        return wide if options == ["wide"] else (wide >> wide.dtype.type(32)).astype(a.dtype)

    def do_mad(self, options, kind, given):
        product = self.do_mul(options, kind, given[:2])
        return product + self.get(given[2], f"{kind[0]}{8 * product.itemsize}")

    def do_div(self, options, kind, given):
        a, b = (self.get(operand, kind).astype(np.int64) for operand in given)
        assert kind in ("s32", "u32")
        quotient = np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))  # towards zero
        return quotient.astype(SIGNED[32])

    def do_shl(self, options, kind, given):
        value, count = self.get(given[0], kind), self.get(given[1], "u32")
        bits = 8 * value.itemsize
        return np.where(count < bits, value << np.minimum(count, bits - 1).astype(value.dtype), 0)

    def do_shr(self, options, kind, given):
        value, count = self.get(given[0], kind), self.get(given[1], "u32")
        bits = 8 * value.itemsize
        moved = value >> np.minimum(count, bits - 1).astype(value.dtype)
        return moved if kind[0] == "s" else np.where(count < bits, moved, 0).astype(value.dtype)

    def do_bfe(self, options, kind, given):
        value, (first, count) = self.get(given[0], kind), map(int, given[1:])
        bits, number = 8 * value.itemsize, value.dtype.type
        return value << number(bits - first - count) >> number(bits - count)

    def do_prmt(self, options, kind, given):
        words = [self.get(operand, kind)[:, None].view(np.uint8) for operand in given[:2]]
        chosen = [int(given[2].rstrip("U"), 0) >> 4 * byte & 15 for byte in range(4)]
        return np.ascontiguousarray(np.hstack(words)[:, chosen]).view(np.uint32)[:, 0]

    def do_selp(self, options, kind, given):
        return np.where(
            self.get(given[2], "pred"), self.get(given[0], kind), self.get(given[1], kind)
        )

    def do_setp(self, options, kind, given):
        compare = {"lt": np.less, "gt": np.greater, "le": np.less_equal, "ge": np.greater_equal}
        compare |= {"eq": np.equal, "ne": np.not_equal}
        return compare[options[0]](*(self.get(operand, kind) for operand in given))

    def do_cvt(self, options, kind, given):
        *rounding, to = options
        value = self.get(given[0], kind)
        if to[0] == "f":
            assert rounding == ["rn"]
            return value.astype(f"f{int(to[1:]) // 8}")
        assert rounding == []
        return value.astype((SIGNED if to[0] == "s" else UNSIGNED)[int(to[1:])])
