"""From the tape to the sealed record, in a process beside the gateway."""
