"""Frames of the tape in, statements out: what was sent, what came back, and whether it lasted."""
