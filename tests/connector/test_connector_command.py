"""The connector's command: what is wrong is one line and an exit code, and it can be stopped at any time."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgwitness.embedded import free_port
from pgwitness.wire.join_token import new_join_token

TOKEN = new_join_token("p" * 43).text


def command(state: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "pgwitness", "connector", "--state", str(state), *arguments]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "this connector has not joined a gateway"),
        (("--gateway", "gw:7433"), "this connector has not joined a gateway"),
        (("--join", TOKEN), "--gateway HOST:PORT is needed to join"),
        (("--gateway", "gw:7433", "--join", TOKEN[:-1]), "that is not a join token, or only a part of one"),
        (("--gateway", "gw", "--join", TOKEN), "'gw' is not the address of a gateway"),
        (("--gateway", "gw:1", "--join", TOKEN, "--allow", "db:port"), "'db:port' is not a host"),
        (
            ("--gateway", "gw:1", "--join", TOKEN, "--password-env", "NO_SUCH"),
            "NO_SUCH of --password-env is not set",
        ),
        (
            ("--gateway", "gw:1", "--join", TOKEN, "--password-file", "/no/such"),
            "cannot read the password file",
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_line(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = subprocess.run(command(tmp_path, *arguments), capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    first, *hint = done.stderr.splitlines()
    assert first.startswith("error: ") and said in first
    assert len(hint) <= 1 and "Traceback" not in done.stderr
    assert TOKEN.split("_")[2] not in done.stdout + done.stderr


@contextmanager
def running(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with process:
        try:
            yield process
        finally:
            process.kill()


def until(process: "subprocess.Popen[str]", text: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"it ended without saying {text!r}")


def test_a_gateway_that_is_not_there_is_waited_for_and_sigterm_ends_the_wait(tmp_path: Path) -> None:
    arguments = ("--gateway", f"127.0.0.1:{free_port()}", "--join", TOKEN)
    with running(*command(tmp_path, *arguments)) as process:
        until(process, "not_joined_yet")
        until(process, "not_joined_yet")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert time.monotonic() - began < 5


def test_two_on_one_state_directory(tmp_path: Path) -> None:
    arguments = ("--gateway", f"127.0.0.1:{free_port()}", "--join", TOKEN)
    with running(*command(tmp_path, *arguments)) as process:
        until(process, "not_joined_yet")
        second = subprocess.run(command(tmp_path, *arguments), capture_output=True, text=True, timeout=30)
        assert second.returncode == 3 and "another connector (process" in second.stderr


def test_options_by_environment(tmp_path: Path) -> None:
    """As a container has them."""
    environment = {
        **os.environ,
        "PGWITNESS_CONNECTOR_STATE": str(tmp_path),
        "PGWITNESS_GATEWAY": "gw",
        "PGWITNESS_JOIN": TOKEN,
    }
    done = subprocess.run(
        [sys.executable, "-m", "pgwitness", "connector"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert "'gw' is not the address of a gateway" in done.stderr
