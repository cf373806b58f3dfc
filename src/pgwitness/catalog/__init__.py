"""What people decided: connections, identities, tokens, grants, and the audit of who decided it."""
