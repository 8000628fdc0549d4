"""Loaded by each Python that a test starts with the official client (PYTHONPATH in `server.ts`).

Importing the client makes a hundred thousand objects that stay. Python looks through them again and again while it imports and three times as it ends, which takes a quarter of the processor
time of a short program.
"""

import atexit
import gc

gc.set_threshold(50_000, 20, 20)
# What there is at the end is left to the system. Functions registered later run before this one.
atexit.register(gc.freeze)
