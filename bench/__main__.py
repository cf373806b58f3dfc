"""``python -m bench [--quick] [--rounds N] [--seconds S] [--only TEXT]``: measure, write RESULTS.md."""

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bench import HERE, measures, report, routes, search
from bench.report import Row
from bench.routes import Route

SEARCH = "search"
"""``--only search``: nothing but that, without any server."""
MODES = ("simple", "extended", "prepared")


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    rounds: int = 5
    seconds: float = 4
    scale: int = 10
    rows: int = 2_500_000
    copy_bytes: int = 520_000_000
    statements: int = 40_000
    sessions: int = 1000
    indexed: int = 5_000_000
    """Statements of the index that is searched, a hundred a session."""


QUICK = Scale(
    rounds=1,
    seconds=1,
    scale=1,
    rows=50_000,
    copy_bytes=10_000_000,
    statements=2000,
    sessions=50,
    indexed=50_000,
)

Plan = list[tuple[Row, dict[str, Route], measures.Measure]]
"""What to measure in each round: the row, its routes by label, the measure."""


def main() -> int:
    arguments = _arguments()
    scale = QUICK if arguments.quick else Scale(rounds=arguments.rounds, seconds=arguments.seconds)
    measures.raise_file_limit()
    rows = [] if arguments.only == SEARCH else _measured(arguments, scale)
    sections = [_searched(arguments, scale)] if arguments.only in SEARCH else []
    facts = {**measures.machine(), "rounds": str(scale.rounds), "seconds a sample": f"{scale.seconds:g}"}
    target = Path(arguments.output)
    report.write(target, rows, facts, sections)
    print(target.read_text().split("## Every round")[0])
    return 0


def _measured(arguments: argparse.Namespace, scale: Scale) -> list[Row]:
    """What the gateway costs."""
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(routes.database(scale.scale))
        bouncer = stack.enter_context(routes.pgbouncer(cluster))
        witness = stack.enter_context(routes.pgwitness(cluster, "process"))
        far = stack.enter_context(routes.through_connector(cluster, witness))
        disk = stack.enter_context(routes.pgwitness(cluster, "disk"))
        fresh: dict[str, measures.Fresh] = {
            "PgBouncer": lambda: routes.pgbouncer(cluster),
            "pgwitness": lambda: routes.pgwitness_alone(cluster),
        }
        plan = list(_plan(scale, routes.direct(cluster), bouncer, witness, far, disk, fresh))
        plan = [step for step in plan if arguments.only in step[0].name]
        for number in range(scale.rounds):
            _round(plan, number, scale.rounds)
    return [row for row, _, _ in plan]


def _searched(arguments: argparse.Namespace, scale: Scale) -> list[str]:
    """How fast searches are, of an index that is made for it or was kept in ``--state``."""
    with tempfile.TemporaryDirectory(prefix="pgw-search-") as directory:
        state = Path(arguments.state or directory)
        found = search.measured(state, scale.indexed, scale.indexed // 100, scale.rounds)
    return search.section(found)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: does it run?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4, help="of each pgbench run")
    parser.add_argument("--only", default="", help="only measures with this text in their name")
    parser.add_argument("--state", help="where the index of the searches is kept, or made to be kept")
    parser.add_argument("--output", help="default: bench/RESULTS.md; a quick run writes elsewhere")
    arguments = parser.parse_args()
    if arguments.output is None:
        partial = arguments.quick or arguments.only
        arguments.output = str(Path(tempfile.gettempdir()) / "RESULTS.md" if partial else HERE / "RESULTS.md")
    return arguments


def _round(plan: Plan, number: int, of: int) -> None:
    for row, ways, measure in plan:
        order = list(ways)
        order = order[number % len(order) :] + order[: number % len(order)]
        for label in order:
            with ways[label].as_said():
                value = measure(ways[label])
            ways[label].settle()
            row.add(label, value)
            print(f"round {number + 1}/{of}  {row.name}  {label}: {value:,.1f} {row.unit}", file=sys.stderr)


def _plan(
    scale: Scale,
    direct: Route,
    bouncer: Route,
    witness: dict[str, Route],
    far: Route,
    disk: dict[str, Route],
    fresh: dict[str, measures.Fresh],
) -> Iterator[tuple[Row, dict[str, Route], measures.Measure]]:
    ours = witness["capped"]
    every = {"direct": direct, "PgBouncer": bouncer, "pgwitness": ours}
    between = {"PgBouncer": bouncer, "pgwitness": ours}
    seconds = scale.seconds
    for mode in MODES:
        for clients in (1, 8, 40):
            bound = 0.95 if clients == 1 else 1.0
            row = Row(
                f"pgbench -S, {mode}, {clients} client{'s'[: clients > 1]}",
                "tx/s",
                target=("PgBouncer", bound),
            )
            yield row, every, measures.transactions("-S", "-M", mode, seconds=seconds, clients=clients)
    tpc_b = measures.transactions("-M", "prepared", seconds=seconds, clients=8)
    yield Row("pgbench TPC-B, prepared, 8 clients", "tx/s"), every, tpc_b
    yield (
        Row("pipelines of 20, 8 clients", "statements/s"),
        every,
        measures.pipelined(seconds=seconds, clients=8),
    )
    bulk = ("direct", 0.85)
    yield Row("bulk SELECT", "MB/s", target=bulk), every, measures.bulk_select(scale.rows)
    yield Row("COPY OUT", "MB/s", target=bulk), every, measures.copy_out(scale.rows)
    yield Row("COPY IN", "MB/s", target=bulk), every, measures.copy_in(scale.copy_bytes)
    connects = measures.transactions("-S", "-C", seconds=seconds, clients=8)
    yield Row("connections, 8 clients, log-in and one query each", "per second"), every, connects

    every = {"direct": direct, "PgBouncer": bouncer, "pgwitness": far}
    for clients in (8, 40):
        row = Row(
            f"through a connector: pgbench -S, prepared, {clients} clients", "tx/s", target=("PgBouncer", 0.6)
        )
        prepared = measures.transactions("-S", "-M", "prepared", seconds=seconds, clients=clients)
        yield row, every, prepared
    row = Row("through a connector: bulk SELECT", "MB/s", target=("direct", 0.6))
    yield row, every, measures.bulk_select(scale.rows)
    row = Row("through a connector: session set-up, p50", "ms", more_is_better=False, target=("direct", 2.0))
    yield row, every, measures.set_up(sessions=scale.sessions // 5)

    for kind, measure in measures.idle_memory(scale.sessions, fresh).items():
        target = ("at most", 64.0) if kind == "rss" else None
        name = f"{kind.upper()} an idle session, over {scale.sessions:,}"
        yield Row(name, "KiB", more_is_better=False, target=target), between, measure
    for kind, measure in measures.cpu_a_statement(statements=scale.statements).items():
        ways = {"pgwitness": ours} if kind in measures.HELPERS else between
        yield Row(f"CPU a statement, {kind}", "µs", more_is_better=False), ways, measure
    tape = measures.tape_bytes(statements=scale.statements // 8)
    yield Row("tape a statement of pgbench -S", "bytes", more_is_better=False), {"pgwitness": ours}, tape
    stored = measures.record_bytes(statements=max(scale.statements, 20_000))
    row = Row("sealed record a statement of pgbench -S, prepared, 8 clients", "bytes", more_is_better=False)
    yield row, {"pgwitness": ours}, stored["bytes"]
    row = Row("sealed record ÷ raw wire bytes, the same", "", more_is_better=False, target=("at most", 0.25))
    yield row, {"pgwitness": ours}, stored["ratio"]

    variants = {
        "pgwitness, defaults": ours,
        "pgwitness, results none": witness["none"],
        "pgwitness, results all": witness["all"],
        "pgwitness, durability disk": disk["capped"],
    }
    prepared = measures.transactions("-S", "-M", "prepared", seconds=seconds, clients=8)
    for name, unit, measure in (
        ("settings: pgbench -S, prepared, 8 clients", "tx/s", prepared),
        ("settings: TPC-B, prepared, 8 clients", "tx/s", tpc_b),
        ("settings: bulk SELECT", "MB/s", measures.bulk_select(scale.rows)),
    ):
        yield Row(name, unit), {"direct": direct, **variants}, measure
    alone = {
        "PgBouncer": bouncer,
        "pgwitness, defaults": ours,
        "pgwitness, indexer held still": replace(ours, held="pgwitness.index.indexer"),
    }
    unsealed = replace(ours, held="pgwitness.sealing")
    for clients in (1, 8, 40):
        row = Row(
            f"with the sealer ÷ with it held still: pgbench -S, prepared, {clients} clients",
            "tx/s",
            target=("sealer held still", 0.95),
        )
        prepared = measures.transactions("-S", "-M", "prepared", seconds=seconds, clients=clients)
        yield row, {"sealer held still": unsealed, "pgwitness": ours}, prepared
    for mode in MODES:
        one = measures.transactions("-S", "-M", mode, seconds=seconds, clients=1)
        yield Row(f"settings: pgbench -S, {mode}, 1 client", "tx/s"), {"direct": direct, **alone}, one


if __name__ == "__main__":
    sys.exit(main())
