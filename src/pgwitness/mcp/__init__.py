"""The record for an investigating assistant: read-only tools over the API, by the Model Context Protocol."""
