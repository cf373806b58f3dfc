"""The server between agents and PostgreSQL: it decides who may talk to what; the core carries and records the
rest.
"""
