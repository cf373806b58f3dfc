"""The index: sessions and statements in tables, derived from the tape, deletable, rebuilt by one command."""
