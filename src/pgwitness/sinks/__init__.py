"""Sinks: what the record says, sent to systems that others run, by a process of its own beside the gateway.

It follows the index, because the index keeps what a sink would have to: statements until their transaction is
settled, however many, across restarts and released tape, without what was erased and without what the setting
``index.text`` holds back. A sink's own memory is one small file of positions (``positions.py``). ``feed.py``
says what comes next, ``items.py`` and its mappings say it in somebody's format, ``places/`` take it there,
``courier.py`` goes on until it has arrived.
"""
