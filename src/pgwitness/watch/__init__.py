"""Does anybody go around the gateway? Looks at a server from inside: its sessions, the ways in, its counters
of statements, and what it can be made to do that the wire does not show. It reads; it never changes anything.
"""
