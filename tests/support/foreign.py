"""asyncpg's own test suite, from its source distribution, against whatever server we name."""

import os
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from importlib.metadata import version
from pathlib import Path

Results = dict[str, str]
"""Test → ``passed``, ``failed`` or ``skipped``."""

SUITE_SECONDS = 900


def fetch_suite(directory: Path) -> Path:
    """asyncpg's ``tests`` of the version that is installed. The package itself is the installed one."""
    release = version("asyncpg")
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "asyncpg",
         "--dest", str(directory), f"asyncpg=={release}"],
        check=True,
    )  # fmt: skip
    with tarfile.open(directory / f"asyncpg-{release}.tar.gz") as archive:
        members = [m for m in archive.getmembers() if m.name.startswith(f"asyncpg-{release}/tests/")]
        archive.extractall(directory, members=members, filter="data")
    return directory / f"asyncpg-{release}" / "tests"


def run_suite(
    tests: Path, report: Path, *, host: str, port: int, user: str, password: str, database: str
) -> Results:
    """Every test's result; ``report`` is pytest's JUnit file."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {
        "PGHOST": host,
        "PGPORT": str(port),
        "PGUSER": user,
        "PGPASSWORD": password,
        "PGDATABASE": database,
        "PGSSLMODE": "disable",
    }
    command = [
        *(
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:asyncio",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:timeout",
        ),
        *(
            "-c",
            os.devnull,
            "--rootdir",
            str(tests.parent),
            "--junitxml",
            str(report),
            "--ignore",
            "tests/test__sourcecode.py",
            "tests",
        ),
    ]
    subprocess.run(command, cwd=tests.parent, env=environment, timeout=SUITE_SECONDS, capture_output=True)
    return _results(report)


def _results(report: Path) -> Results:
    results = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname', '').removeprefix('tests.')}.{case.get('name')}"
        tags = {child.tag for child in case}
        results[name] = (
            "failed" if tags & {"failure", "error"} else "skipped" if "skipped" in tags else "passed"
        )
    return results
