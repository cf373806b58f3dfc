"""The record read back in the order of the tape.

Entries are sealed span by span, and a span lies in one segment of the tape and covers at most ``SPAN_BYTES``
of it. So when an entry at position p has been met, no frame below p - ``SPAN_BYTES`` is still to come.
"""

SPAN_BYTES = 8 << 20
"""Of the tape, that one checkpoint adds at most: positions of frames sealed together differ by less."""
