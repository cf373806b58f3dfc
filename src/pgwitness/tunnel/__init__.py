"""What both ends of the tunnel share: messages on streams of the core (docs/tunnel.md)."""
