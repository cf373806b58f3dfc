"""``pgwitness demo``: exits 0, shows the mistake, and the commands that it recommends work."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import psycopg

COMMAND = [sys.executable, "-m", "pgwitness", "demo"]


def test_the_screen_tells_the_story_and_its_commands_work(tmp_path: Path) -> None:
    done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    screen = done.stdout
    assert "billing-agent" in screen and "UPDATE 40000" in screen and "error 42703" in screen
    assert "dialled by connector beside-postgres" in screen
    assert "$1 = 'void', $2 = 'west', $3 = 5000" in screen
    assert len(screen.splitlines()) <= 45, "one screen"
    assert "40,003 rows: UPDATE public.orders, committed (40,000 by statement 9, 3 by statement 5)" in screen
    assert "3 rows: INSERT public.refunds, committed (3 by statement 6)" in screen
    assert "Sound: " in screen and "Caught: in the copy, byte " in screen
    assert "its bytes are not those that were sealed" in screen

    (state,) = re.findall(r"export PGWITNESS_STATE=(\S+)", screen)
    commands = [
        shlex.split(line)[1:] for line in screen.splitlines() if re.match(r"\s+\S*pgwitness [sb]", line)
    ]
    assert len(commands) == 4
    for command in commands:
        shown = subprocess.run(
            [sys.executable, "-m", "pgwitness", *command],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PGWITNESS_STATE": state},
            timeout=60,
        )
        assert shown.returncode == 0, (command, shown.stderr)
        assert "UPDATE" in shown.stdout or zipfile.is_zipfile(tmp_path / "session.zip")
    shutil.rmtree(state)


def test_keep_leaves_it_running() -> None:
    with subprocess.Popen([*COMMAND, "--keep"], stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        try:
            screen = ""
            while "Ctrl-C" not in screen:
                line = demo.stdout.readline()
                assert line, screen
                screen += line
            (dsn,) = re.findall(r"psql '([^']+)'", screen)
            with psycopg.connect(dsn) as connection:
                assert connection.execute("SELECT count(*) FROM orders").fetchone() == (60_000,)
            ((web, token),) = re.findall(r"web\s+(http://127\.0\.0\.1:\d+), sign in with (pgw_\S+)", screen)
            with httpx.Client(base_url=web, follow_redirects=True) as visitor:
                page = visitor.post("/sign-in", data={"token": token})
            assert "Overview" in page.text and "billing-agent" in page.text
        finally:
            demo.send_signal(signal.SIGTERM)
            demo.communicate(timeout=60)
    assert demo.returncode == 0
    (state,) = re.findall(r"export PGWITNESS_STATE=(\S+)", screen)
    shutil.rmtree(state)
