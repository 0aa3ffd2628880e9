"""What the tests of several kernels draw: keys, laws, layouts, plans; and what the reference says.

It imports no framework, for tests that run where one of them must not be loaded.
"""

import numpy as np

from initspec import stream
from initspec.draw import normal_draw, truncated_draw, uniform_draw
from initspec.fill_plan import STORAGE, FillPlan
from initspec.layout import Layout

KEYS = (0x243F6A88, 0x85A308D3)  # digits of pi
NEGATIVE_KEYS = (0xF43F6A88, 0x85A308D3)  # both are, when taken for signed numbers
DRAWS = {
    "uniform": uniform_draw(-0.25, 0.25),
    "uniform off centre": uniform_draw(-0.1, 0.35),
    "normal": normal_draw(0.05),
    "normal with mean": normal_draw(0.05, mean=-1.0),
    "truncated": truncated_draw(0.05, 0.0, -2.0, 2.0),
    "truncated one side": truncated_draw(1.5, 3.0, -0.5, None),
}
SUBNORMAL = {"subnormal in float16": normal_draw(2.0**-18)}
LAYOUTS = {
    "": (),
    "I": (13,),
    "O": (21,),
    "OI": (33, 70),
    "IO": (70, 33),
    "OIHW": (5, 3, 3, 3),
    "HWIO": (3, 3, 3, 37),
    "IOO": (6, 3, 11),
    "SIO": (4, 5, 9),
    "OIS": (3, 5, 40),
    "(G O) I H W": (12, 2, 3, 3),
}


def plan_for(pattern, shape, draw=DRAWS["normal"], origin=(0, 0, 0), key=KEYS, **options):
    groups = 4 if "G O)" in pattern else None
    layout = Layout.parse(pattern, groups=groups, **options)
    keys = tuple((key[0] + i, key[1]) for i in range(max(1, len(layout.blocks))))
    return FillPlan(layout.bind(shape), draw, keys, origin)


def reference(plan, dtype):
    """The tensor of a plan, as the specification in NumPy writes it."""
    out = np.empty(plan.shape, STORAGE[dtype])
    stream.fill(plan, out, dtype)
    return out


def bits(array):
    """The bit patterns, so that -0.0 is not 0.0 and nothing is compared with a tolerance."""
    host = np.ascontiguousarray(array)
    return host.view(f"u{host.itemsize}")
