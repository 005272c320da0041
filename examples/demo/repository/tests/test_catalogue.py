import json
import unittest

from shelf.catalogue import Catalogue


class TestCatalogue(unittest.TestCase):
    def setUp(self) -> None:
        self.catalogue = Catalogue({"green-tea": {"price": 3}, "coffee": {"price": 4}})

    def price(self, name: str) -> int:
        return json.loads(self.catalogue.get(name))["price"]

    def test_any_spelling_is_the_same_thing(self) -> None:
        self.assertEqual(self.price("Green Tea"), self.price("green-tea"))

    def test_what_is_not_there_is_an_error(self) -> None:
        with self.assertRaises(KeyError):
            self.catalogue.get("Milk")

    def test_a_change_is_seen(self) -> None:
        self.assertEqual(self.price("Green Tea"), 3)
        self.catalogue.put("Green Tea", {"price": 5})
        self.assertEqual(self.price("Green Tea"), 5)

    def test_what_was_read_is_in_memory(self) -> None:
        self.price("Coffee")
        self.price("Coffee")
        self.assertEqual(self.catalogue.cache.hits, 1)

    def test_a_change_leaves_other_things_in_memory(self) -> None:
        self.price("Coffee")
        self.catalogue.put("Green Tea", {"price": 5})
        self.price("Coffee")
        self.assertEqual(self.catalogue.cache.hits, 1)


if __name__ == "__main__":
    unittest.main()
