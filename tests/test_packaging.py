"""Units, image and compose file: what they promise of rights, and that what they start runs under them."""

import configparser
import ctypes
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from dockerfile_parse import DockerfileParser

from support.gateway import Gateway
from support.servers import PASSWORD, Server

ROOT = Path(__file__).parent.parent
PACKAGING = ROOT / "packaging"
UNITS = ("gateway", "connector")
EXPOSURE = 20
"""In tenths, of ``systemd-analyze security``: below 2.0 is "OK"."""
PR_SET_MDWE, MDWE_REFUSE_EXEC_GAIN = 65, 1
EINVAL = 22
PROGRAM = [sys.executable, "-m", "pgwitness"]


def unit(name: str) -> dict[str, str]:
    """The section Service; of what is given several times, the last."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(PACKAGING / "systemd" / f"pgwitness-{name}.service")
    return dict(parser["Service"])


@pytest.fixture
def dockerfile(tmp_path: Path) -> DockerfileParser:
    parser = DockerfileParser(str(tmp_path))  # it opens its file for writing
    parser.content = (PACKAGING / "Dockerfile").read_text()
    return parser


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((PACKAGING / "compose.yaml").read_text())
    return loaded


def instructions(dockerfile: DockerfileParser, name: str) -> list[str]:
    return [each["value"] for each in dockerfile.structure if each["instruction"] == name]


# units


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_has_no_rights_that_it_does_not_need(name: str) -> None:
    service = unit(name)
    assert service["User"] == ("pgwitness" if name == "gateway" else "pgwitness-connector")
    assert service["CapabilityBoundingSet"] == ""
    assert service["ProtectSystem"] == "strict" and service["StateDirectoryMode"] == "0700"
    for switch in (
        "NoNewPrivileges",
        "ProtectHome",
        "PrivateTmp",
        "MemoryDenyWriteExecute",
        "PrivateDevices",
    ):
        assert service[switch] == "yes"
    accounts = (PACKAGING / "systemd" / "pgwitness.sysusers").read_text()
    assert re.search(rf"^u {service['User']} ", accounts, re.MULTILINE)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("name", UNITS)
def test_systemd_takes_a_unit_and_finds_it_confined(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"pgwitness-{name}.service"
    text = (PACKAGING / "systemd" / path.name).read_text()
    path.write_text(text.replace("/opt/pgwitness/bin/pgwitness", "/bin/true"))
    for command in (
        ["verify", "--man=no", str(path)],
        ["security", "--offline=yes", "--no-pager", f"--threshold={EXPOSURE}", str(path)],
    ):
        done = subprocess.run(["systemd-analyze", *command], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout[-500:] + done.stderr
        assert "Unknown" not in done.stderr, done.stderr


# image


def test_what_the_image_copies_is_there_and_not_left_out(dockerfile: DockerfileParser) -> None:
    allowed = (PACKAGING / "Dockerfile.dockerignore").read_text().splitlines()
    kept = [line[1:] for line in allowed if line.startswith("!")]
    copied = [part for value in instructions(dockerfile, "COPY") for part in value.split()[:-1]]
    assert copied and "*" in allowed
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(entry == source or entry.startswith(f"{source}/") for entry in kept), source
    assert all((ROOT / entry).exists() for entry in kept)
    needed = ["README.md", "LICENSE", "core/Cargo.toml", "core/Cargo.lock"]  # pyproject.toml names them
    assert all(any(fnmatch(name, entry) for entry in kept) for name in needed)


def test_the_image_has_no_compiler_no_root_and_fixed_bases(dockerfile: DockerfileParser) -> None:
    stages = instructions(dockerfile, "FROM")
    assert len(stages) == 2 and "rust" in stages[0] and "rust" not in stages[1]
    assert all(re.search(r":\d+\.\d+\S*", stage) for stage in stages), "a tag that does not move"
    assert instructions(dockerfile, "USER") == ["pgwitness"]
    assert all("latest" not in stage for stage in stages)
    assert json.loads(instructions(dockerfile, "ENTRYPOINT")[0]) == ["pgwitness"]


# compose


def test_the_connector_cannot_see_the_gateway_s_state_nor_the_gateway_the_database(
    compose: dict[str, Any],
) -> None:
    services = compose["services"]

    def volumes(name: str) -> set[str]:
        return {volume.split(":")[0] for volume in services[name]["volumes"]}

    assert volumes("connector") == {"connector"} and volumes("gateway") == {"gateway"}
    assert not set(services["gateway"]["networks"]) & set(services["database"]["networks"])
    assert "agents" not in services["connector"]["networks"]
    assert all(compose["networks"][name]["internal"] for name in ("tunnel", "database"))
    assert "ports" not in services["connector"] and "ports" not in services["database"]
    assert "secrets" not in services["gateway"]
    for name in ("gateway", "connector"):
        assert services[name]["read_only"] is True and services[name]["cap_drop"] == ["ALL"]
    named = {volume for service in services.values() for volume in volumes_of(service)}
    assert named == set(compose["volumes"])


def volumes_of(service: dict[str, Any]) -> list[str]:
    return [volume.split(":")[0] for volume in service.get("volumes", [])]


# entry points, as processes


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., dict[str, Any]]]:
    """``start(arguments, environment)``: run it until it is ready; its ready line."""
    running: list[subprocess.Popen[str]] = []

    def start(arguments: list[str], environment: dict[str, str]) -> dict[str, Any]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PGWITNESS_")}
        log = (tmp_path / f"{len(running)}.log").open("w+")
        process = subprocess.Popen(
            [*PROGRAM, *arguments],
            env=kept | environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            preexec_fn=confine,  # nothing else runs in this process
        )
        running.append(process)
        assert process.stdout is not None
        for line in process.stdout:
            if '"event":"ready"' in line:
                log.close()
                ready: dict[str, Any] = json.loads(line)
                return ready
        log.seek(0)
        raise AssertionError(f"{arguments} ended with {process.wait()}:\n{log.read()}")

    yield start
    codes = []
    for process in reversed(running):
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        codes.append(process.returncode)
    assert codes == [0] * len(codes)


def confine() -> None:
    """MemoryDenyWriteExecute and UMask of the units; children inherit both."""
    os.umask(0o077)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_MDWE, MDWE_REFUSE_EXEC_GAIN, 0, 0, 0) != 0:
        assert ctypes.get_errno() == EINVAL, "a kernel before 6.3 does not know it"


def administer(state: Path, *arguments: str) -> str:
    done = subprocess.run(
        [*PROGRAM, *arguments],
        env={**os.environ, "PGWITNESS_STATE": str(state), "PGWITNESS_URL": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def check_through_a_connector(
    start: Callable[..., dict[str, Any]],
    server: Server,
    directory: Path,
    gateway: tuple[list[str], dict[str, str]],
    connector: Callable[[str, str], tuple[list[str], dict[str, str]]],
) -> None:
    """Both start by these commands and environments, and a test query goes through both."""
    arguments, environment = gateway
    free = {"PGWITNESS_PORT": "0", "PGWITNESS_TUNNEL_PORT": "0", "PGWITNESS_HTTP_PORT": "0"}
    ready = start(arguments, environment | free)
    state = Path(ready["state"])
    token = administer(state, "connector", "add", "east")
    tunnel = "127.0.0.1:" + ready["tunnel"].rpartition(":")[2]
    assert start(*connector(tunnel, token))["name"] == "east"
    target = ["--host", "127.0.0.1", "--port", str(server.port), "--database", "shop", "--user", "app"]
    administer(state, "connection", "add", "orders", "--connector", "east", *target, "--sslmode", "disable")
    assert "orders works" in administer(state, "connection", "check", "orders")
    assert directory in state.parents


def test_the_units_commands_work_together(
    start: Callable[..., dict[str, Any]], server18: Server, state: Path
) -> None:
    def command(name: str, **variables: str) -> list[str]:
        line = unit(name)["ExecStart"]
        for variable, value in variables.items():
            line = line.replace(f"${variable}", value)
        program, *arguments = shlex.split(line)
        assert program == "/opt/pgwitness/bin/pgwitness"
        return arguments

    def environment(name: str) -> dict[str, str]:
        variable, _, value = unit(name)["Environment"].partition("=")
        return {variable: value.replace("%S", str(state))}

    def connector(tunnel: str, token: str) -> tuple[list[str], dict[str, str]]:
        given = {"PGWITNESS_GATEWAY": tunnel, "PGWITNESS_JOIN": token, "DB_PASSWORD": PASSWORD}
        options = f"--allow 127.0.0.1:{server18.port} --password-env DB_PASSWORD"
        return command("connector", OPTIONS=options), environment("connector") | given

    check_through_a_connector(start, server18, state, (command("gateway"), environment("gateway")), connector)


def test_the_compose_file_s_commands_work_together(
    start: Callable[..., dict[str, Any]],
    server18: Server,
    state: Path,
    compose: dict[str, Any],
    dockerfile: DockerfileParser,
) -> None:
    secret = state / "database-password"
    secret.write_text(PASSWORD)

    def environment(name: str) -> dict[str, str]:
        return {
            variable: value.replace("/var/lib/pgwitness", str(state / name))
            for variable, value in dockerfile.envs.items()
        }

    def command(name: str, **reality: str) -> list[str]:
        return [reality.get(part, part) for part in compose["services"][name]["command"]]

    def connector(tunnel: str, token: str) -> tuple[list[str], dict[str, str]]:
        arguments = command(
            "connector",
            **{
                "gateway:7433": tunnel,
                "database:5432": f"127.0.0.1:{server18.port}",
                "/run/secrets/database-password": str(secret),
            },
        )
        return arguments, environment("connector") | {"PGWITNESS_JOIN": token}

    assert compose["services"]["connector"]["environment"] == {"PGWITNESS_JOIN": "${PGWITNESS_JOIN:-}"}
    check_through_a_connector(start, server18, state, (command("gateway"), environment("gateway")), connector)
    assert json.loads(instructions(dockerfile, "CMD")[0]) == compose["services"]["gateway"]["command"]


def test_the_health_check_of_the_compose_file_works(gateway: Gateway, compose: dict[str, Any]) -> None:
    kind, program, *arguments = compose["services"]["gateway"]["healthcheck"]["test"]
    assert (kind, program) == ("CMD", "python")
    arguments = [part.replace("http://127.0.0.1:7480", gateway.http) for part in arguments]
    assert subprocess.run([sys.executable, *arguments], timeout=30).returncode == 0
    broken = [part.replace(gateway.http, "http://127.0.0.1:1") for part in arguments]
    assert subprocess.run([sys.executable, *broken], capture_output=True, timeout=30).returncode != 0
