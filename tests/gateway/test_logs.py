"""What the log says of a failure, and what it must never say."""

import json
import subprocess
import sys
import textwrap


def test_a_traceback_in_the_log_shows_no_local_variable() -> None:
    script = textwrap.dedent("""
        import structlog
        from pgwitness.gateway import logs

        def log_in(password):
            raise OSError("the server hung up")

        logs.configure()
        try:
            log_in("correct horse battery staple"[::-1])
        except OSError:
            structlog.get_logger("test").exception("failed")
    """)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    [line] = run.stderr.splitlines()
    said = json.loads(line)
    assert said["exception"][0]["exc_value"] == "the server hung up"
    assert "horse" not in line
    assert "correct horse battery staple"[::-1] not in line
