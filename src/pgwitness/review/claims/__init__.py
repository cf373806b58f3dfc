"""What an agent says it ran, compared with what is on record.

One way through: ``reading`` turns a file into what it says (``Said``), whatever its format; ``texts`` takes
that apart into claims of one statement each; ``forms`` gives claims and recorded statements one form in which
literals and bound values, white space and comments make no difference; ``align`` finds which claim speaks of
which statement; ``judging`` says of each pair what differs; ``check`` puts it together.
"""
