import os
import pathlib
import signal
import sys

from shelf import storage
from shelf.catalogue import Catalogue
from shelf.server import serve

ITEMS = pathlib.Path("items.json")


def main() -> None:
    pathlib.Path("shelf.pid").write_text(str(os.getpid()))
    catalogue = Catalogue(storage.load(ITEMS))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        serve(catalogue)
    finally:
        storage.save(ITEMS, catalogue.items())


main()
