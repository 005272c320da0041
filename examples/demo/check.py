"""What a state is worth: tests that the agent does not see, and what the running server does. Prints one JSON document."""

import http.client
import io
import json
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, ".")


class TestHidden(unittest.TestCase):
    def setUp(self) -> None:
        from shelf.catalogue import Catalogue

        self.catalogue = Catalogue({"green-tea": {"price": 3}, "coffee": {"price": 4}})

    def price(self, name: str) -> int:
        return json.loads(self.catalogue.get(name))["price"]

    def test_any_spelling(self) -> None:
        self.assertEqual(self.price("GREEN  tea"), 3)

    def test_change_is_seen(self) -> None:
        self.price("green tea")
        self.catalogue.put("Green-Tea", {"price": 5})
        self.assertEqual(self.price("Green tea"), 5)

    def test_removal_is_seen(self) -> None:
        self.price("Green tea")
        self.catalogue.remove("Green Tea")
        self.assertRaises(KeyError, self.catalogue.get, "green tea")

    def test_memory_is_used(self) -> None:
        self.price("Coffee")
        self.price("coffee")
        self.assertEqual(self.catalogue.cache.hits, 1)

    def test_change_leaves_others(self) -> None:
        self.price("Coffee")
        self.catalogue.put("Green Tea", {"price": 5})
        self.price("Coffee")
        self.assertEqual(self.catalogue.cache.hits, 1)

    def test_removal_leaves_others(self) -> None:
        self.price("Coffee")
        self.catalogue.remove("Green Tea")
        self.price("Coffee")
        self.assertEqual(self.catalogue.cache.hits, 1)


def ask(method: str, path: str, item: object = None) -> tuple[int, object]:
    connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=2)
    try:
        connection.request(method, path, None if item is None else json.dumps(item))
        reply = connection.getresponse()
        body = reply.read()
        return reply.status, json.loads(body) if body else None
    finally:
        connection.close()


def hits() -> int:
    return ask("GET", "/stats")[1]["hits"]


def live_change_is_seen() -> bool:
    ask("PUT", "/items/Thing%201", {"price": -1})
    return ask("GET", "/items/Thing%201") == (200, {"price": -1})


def live_removal_is_seen() -> bool:
    ask("DELETE", "/items/Thing%202")
    return ask("GET", "/items/Thing%202")[0] == 404


def live_memory_is_used() -> bool:
    ask("GET", "/items/Thing%203")
    before = hits()
    ask("GET", "/items/Thing%203")
    return hits() == before + 1


def live_change_leaves_others() -> bool:
    ask("GET", "/items/Thing%203")
    ask("PUT", "/items/Thing%204", {"price": 0})
    before = hits()
    ask("GET", "/items/Thing%203")
    return hits() == before + 1


def live(expected: int) -> list[str]:
    """What is wrong. A server that does not answer, or has lost what its customers put, is wrong in everything."""
    checks = [live_change_is_seen, live_removal_is_seen, live_memory_is_used, live_change_leaves_others]
    every = ["items are kept"] + [check.__name__.removeprefix("live_").replace("_", " ") for check in checks]
    try:
        if ask("GET", "/stats")[1]["items"] != expected:
            return every
        for thing in range(1, 5):
            ask("GET", f"/items/Thing%20{thing}")
        return [name for name, check in zip(every[1:], checks) if not check()]
    except (OSError, ValueError, http.client.HTTPException):
        return every


def main() -> None:
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(TestHidden)
    result = unittest.TextTestRunner(stream=io.StringIO()).run(suite)
    failed = [test.id().split("test_")[-1].replace("_", " ") for test, _ in result.failures + result.errors]
    wrong = live(int(sys.argv[1]))
    tests = 1 - len(failed) / result.testsRun
    server = 1 - len(wrong) / 5
    print(json.dumps({"value": (tests + server) / 2, "tests": failed, "server": wrong}))


main()
