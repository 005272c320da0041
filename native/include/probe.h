/* Tells what this machine allows by doing it; prints one JSON document. Returns the exit status. */
#pragma once

int probe(void);
