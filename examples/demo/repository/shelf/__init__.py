"""A catalogue of things over HTTP."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "vendor"))
