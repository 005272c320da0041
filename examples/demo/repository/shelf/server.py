"""The catalogue over HTTP."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import unquote

from shelf.catalogue import Catalogue

PREFIX = "/items/"


def serve(catalogue: Catalogue, port: int = 8080) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/stats":
                cache = catalogue.cache
                stats = {"items": len(catalogue.items()), "hits": cache.hits, "cached": len(cache)}
                self._reply(200, json.dumps(stats).encode())
            else:
                self._with_name(lambda name: self._reply(200, catalogue.get(name)))

        def do_PUT(self) -> None:
            item = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self._with_name(lambda name: catalogue.put(name, item) or self._reply(204))

        def do_DELETE(self) -> None:
            self._with_name(lambda name: catalogue.remove(name) or self._reply(204))

        def _with_name(self, work) -> None:
            try:
                work(unquote(self.path.removeprefix(PREFIX)))
            except KeyError:
                self._reply(404)

        def _reply(self, status: int, body: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_) -> None:
            pass

    HTTPServer(("127.0.0.1", port), Handler).serve_forever()
