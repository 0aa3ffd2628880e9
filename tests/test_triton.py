"""The Triton kernel without a GPU: runs triton_cases.py in processes of its own.

Triton and TensorFlow end the process in which both are loaded, and torch.compile loads Triton
where it is installed. So it lies in a folder of its own, which ``make test`` fills and which only
these processes see.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FOLDER = Path(sys.prefix) / "triton"

pytest.importorskip("torch")


def need_triton():
    if find_spec("triton") is None and not FOLDER.is_dir():
        fail = os.environ.get("INITSPEC_KERNEL") == "require" and sys.platform == "linux"
        (pytest.fail if fail else pytest.skip)(f"no Triton in {FOLDER}, where make test puts it")


@pytest.mark.parametrize("mode", ["interpreted", "compiled"])
def test_triton_equals_the_reference(mode, tmp_path):
    need_triton()
    variables = {
        "INITSPEC_TEST_TRITON": mode,
        "TRITON_INTERPRET": "1" if mode == "interpreted" else "0",
        "TRITON_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(FOLDER), str(HERE), *filter(None, sys.path)]),
    }
    options = ["-q", "--no-header", "-rf", "-p", "no:cacheprovider", "--tb=short"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, HERE / "triton_cases.py"],
        env={**os.environ, **variables},
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
