"""What customers did before the agent came: items that the server has in memory and no file has yet."""

import http.client
import json
import sys

connection = http.client.HTTPConnection("127.0.0.1", 8080)
for thing in range(1, int(sys.argv[1]) + 1):
    connection.request("PUT", f"/items/Thing%20{thing}", json.dumps({"price": thing}))
    connection.getresponse().read()
    connection.request("GET", f"/items/Thing%20{thing}")
    connection.getresponse().read()
