"""A record that grows by whole sessions, for those who look at its heads."""

from pathlib import Path

from pgwitness.record.layout import Layout
from pgwitness.record.log_reader import LogReader
from support import tapes
from support.sealing import seal
from support.tape_files import ENDED, STARTED, TapeWriter


class Growing:
    """A record that gets a session more with each ``grow``."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.layout = Layout(state / "record")
        self.sessions = 0
        self.grow()

    def grow(self, sessions: int = 1) -> bytes:
        """The new checkpoint."""
        writer = TapeWriter(self.state / "tape")
        for _ in range(sessions):
            self.sessions += 1
            session = tapes.session_id(self.sessions).bytes
            writer.append_json(session, STARTED, self.sessions, {})
            writer.append_json(session, ENDED, self.sessions, {"reason": "terminated"})
        writer.close()
        seal(self.state)
        return LogReader(self.layout).note

    @property
    def verifier(self) -> str:
        return self.layout.verifier.read_text().strip()
