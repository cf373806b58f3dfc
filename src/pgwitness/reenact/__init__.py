"""A recorded session run again on a restored copy, and compared; and the rows that one of its writes touches.

Ideas of the whole room:

- What is sent is the client's own wire, message by message (``plan`` decides which, ``player`` sends them),
  so that protocol, formats, names and transaction boundaries are those of the record.
- What comes back is read by the same assembler that reads the record, so two documents of one kind are
  compared, statement by statement (``comparison``).
- What must differ (times, random values, identifiers of the server) is told apart from what must not
  (``nature``).
- Nothing here knows an API or a catalog: frames come in (``spool``), a report goes out (``report``).
"""
