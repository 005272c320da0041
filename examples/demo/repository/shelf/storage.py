"""The catalogue as a file."""

import json
import os
import pathlib


def load(path: pathlib.Path) -> dict[str, dict]:
    return json.loads(path.read_text()) if path.exists() else {}


def save(path: pathlib.Path, items: dict[str, dict]) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps(items))
    os.replace(new, path)
