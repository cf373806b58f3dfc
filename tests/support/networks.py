"""Three network namespaces in a row: gateway, router, connector; only replies of the tunnel go back.

The connector's side can open connections to the gateway's. The router sends nothing towards the connector's
side but what comes from the gateway's tunnel port, so from the gateway no connection can be opened there.
Needs root and iproute2. Unix sockets know no namespaces: PostgreSQL is beside the connector by its socket.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

GATEWAY, CONNECTOR = "10.231.1.2", "10.231.2.2"
_ROUTER = {"gateway": "10.231.1.1", "connector": "10.231.2.1"}
_CLONE_NEWNET = 0x40000000


class Networks:
    """``set_up``, ``tear_down``; ``cut`` and ``mend`` the way between."""

    def __init__(self) -> None:
        self._names = {side: f"pgw{os.getpid()}{side[0]}" for side in ("gateway", "router", "connector")}

    def set_up(self) -> "Networks":
        for name in self._names.values():
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        router = self._names["router"]
        for side, address in (("gateway", GATEWAY), ("connector", CONNECTOR)):
            near, far = f"to-{side}"[:15], "uplink"
            name = self._names[side]
            _ip("link", "add", near, "netns", router, "type", "veth", "peer", "name", far, "netns", name)
            _ip("-n", router, "addr", "add", f"{_ROUTER[side]}/24", "dev", near)
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", far)
            _ip("-n", router, "link", "set", near, "up")
            _ip("-n", name, "link", "set", far, "up")
            _ip("-n", name, "route", "add", "default", "via", _ROUTER[side])
        _ip("netns", "exec", router, "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        _ip("-n", router, "rule", "add", "pref", "200", "iif", "to-gateway", "prohibit")
        return self

    def allow_replies(self, port: int) -> None:
        """Let through what comes from this port of the gateway."""
        rule = ("iif", "to-gateway", "ipproto", "tcp", "sport", str(port), "lookup", "main")
        _ip("-n", self._names["router"], "rule", "add", "pref", "100", *rule)

    def tear_down(self) -> None:
        for name in self._names.values():
            subprocess.run(["ip", "netns", "del", name], capture_output=True)

    def prefix(self, side: str) -> list[str]:
        """What runs a program there; the program takes its place."""
        return ["ip", "netns", "exec", self._names[side]]

    @contextmanager
    def inside(self, side: str) -> Iterator[None]:
        """Sockets that this thread opens, and programs that it starts, are there."""
        libc = ctypes.CDLL(None, use_errno=True)
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self._names[side]}", os.O_RDONLY)
        try:
            _enter(libc, there)
            yield
        finally:
            _enter(libc, home)
            os.close(there)
            os.close(home)

    def cut(self) -> None:
        """Drop every packet, without a word to anybody."""
        for preference, interface in (("50", "to-gateway"), ("51", "to-connector")):
            rule = ("pref", preference, "iif", interface, "blackhole")
            _ip("-n", self._names["router"], "rule", "add", *rule)

    def mend(self) -> None:
        for preference in ("50", "51"):
            _ip("-n", self._names["router"], "rule", "del", "pref", preference)


def networks() -> Iterator[Networks]:
    """For a fixture. Skips, with the reason, where there is no root or no ``ip``."""
    if os.geteuid() != 0 or shutil.which("ip") is None or not Path("/run").is_dir():
        pytest.skip("network namespaces need root and iproute2: apt-get install iproute2")
    made = Networks()
    try:
        yield made.set_up()
    finally:
        made.tear_down()


def _enter(libc: ctypes.CDLL, descriptor: int) -> None:
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
