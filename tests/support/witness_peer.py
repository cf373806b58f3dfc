"""A witness as c2sp.org/tlog-witness asks for one, over HTTP, from the specification alone."""

import base64
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pgwitness.errors import RecordBroken
from pgwitness.record.checkpoint import parse_checkpoint
from pgwitness.record.merkle import consistency_holds
from pgwitness.record.notes import parse_verifier
from support.trees import WitnessKey


class Witness:
    """``register`` the logs that it knows. ``size`` and ``cosigned`` tell what it has seen."""

    def __init__(self) -> None:
        self.key = WitnessKey()
        self.answers: list[int] = []
        self.heads: dict[str, tuple[int, bytes]] = {}
        self.time = 1_700_000_000
        self._verifiers: dict[str, str] = {}
        witness = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                code, kind, answer = 404, "", b""
                if self.path == "/w/add-checkpoint":
                    code, kind, answer = witness.add_checkpoint(body)
                witness.answers.append(code)
                self.send_response(code)
                if kind:
                    self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/w/"

    def register(self, verifier: str) -> None:
        self._verifiers[parse_verifier(verifier).name] = verifier

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def add_checkpoint(self, body: bytes) -> tuple[int, str, bytes]:
        """(status, content type, body), in the order of checks of the specification."""
        head, _, note = body.partition(b"\n\n")
        first, *lines = head.decode().split("\n")
        if not first.startswith("old ") or len(lines) > 63:
            return 400, "", b""
        old, proof = int(first[4:]), [base64.b64decode(line, validate=True) for line in lines]
        checkpoint, parsed = parse_checkpoint(note)
        verifier = self._verifiers.get(checkpoint.origin)
        if verifier is None:
            return 404, "", b""
        try:
            parsed.verify([parse_verifier(verifier)])
        except RecordBroken:
            return 403, "", b""
        if old > checkpoint.size:
            return 400, "", b""
        size, root = self.heads.get(checkpoint.origin, (0, b""))
        if old != size:
            return 409, "text/x.tlog.size", f"{size}\n".encode()
        if old == checkpoint.size:
            if root != checkpoint.root:
                return 409, "", b""
        elif old and not consistency_holds(old, root, checkpoint.size, checkpoint.root, proof):
            return 422, "", b""
        self.heads[checkpoint.origin] = checkpoint.size, checkpoint.root
        return 200, "", self.key.cosign(note, self.time).encode()
