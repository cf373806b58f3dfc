"""The process beside PostgreSQL: it dials out to the gateway, and on its word to PostgreSQL."""
