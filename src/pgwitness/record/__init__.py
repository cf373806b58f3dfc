"""The sealed record: chunks, an append-only Merkle log, signed checkpoints, and their verification
(docs/record-format.md).

Files and hashes only: no PostgreSQL, no event loop, nothing of the gateway.
"""
