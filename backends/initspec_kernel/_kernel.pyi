from typing_extensions import Buffer

ISA: str

def fill(
    view: Buffer,
    stack_axes: int,
    out_axes: int,
    dtype: int,
    key0: int,
    key1: int,
    kind: int,
    lo: int,
    width: int,
    factor: float,
    offset: int,
    multiplier: int,
    purpose: int,
    table: Buffer,
    box: tuple[int, int, int, int, int, int],
    /,
) -> None: ...
