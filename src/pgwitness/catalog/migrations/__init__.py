"""The history of the catalog's tables, for Alembic. ``catalog.database`` runs it when a catalog is opened."""

HEAD = "0004"
"""The newest revision, so that a catalog that is up to date opens without loading Alembic."""
