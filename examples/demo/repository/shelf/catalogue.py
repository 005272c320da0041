"""Things by name. Whatever the spelling of the name, it is the same thing."""

import json

from slugs import slug

from shelf.cache import Cache


class Catalogue:
    def __init__(self, items: dict[str, dict] | None = None) -> None:
        self.cache = Cache()
        self._items = dict(items or {})

    def get(self, name: str) -> bytes:
        key = slug(name)
        entry = self.cache.get(key)
        if entry is None:
            entry = json.dumps(self._items[key]).encode()
            self.cache.put(key, entry)
        return entry

    def put(self, name: str, item: dict) -> None:
        self._items[slug(name)] = item
        self.cache.forget(name)

    def remove(self, name: str) -> None:
        del self._items[slug(name)]
        self.cache.forget(name)

    def items(self) -> dict[str, dict]:
        return dict(self._items)
