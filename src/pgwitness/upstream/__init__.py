"""Reaching PostgreSQL and logging in there: the same code for the gateway and for a connector."""
