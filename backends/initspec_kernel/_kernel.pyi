from typing_extensions import Buffer

ISAS: tuple[str, ...]

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
    origin: tuple[int, int, int],
    box: tuple[int, int, int, int, int, int],
    /,
) -> None: ...
def getenv(name: str, /) -> str | None: ...
def use(isa: str, /) -> None: ...
def prefer_huge_pages(memory: Buffer, /) -> None: ...
