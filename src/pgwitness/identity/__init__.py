"""Tokens as SCRAM verifiers, and who may use what."""
