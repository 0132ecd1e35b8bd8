"""Twins on which image recipes run in seconds."""

import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parents[1] / "data_scripts"


def make_twins(root, *names, size=60):
    """Twins of image sets under ``root``, as the user would make them."""
    for name in names:
        command = [sys.executable, SCRIPTS / f"{name}.py", "--twin", "--twin-size", str(size), "--to", root]
        subprocess.run(command, check=True, capture_output=True)
    return root
