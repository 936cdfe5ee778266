"""Tables of speed: sampling, learning, networks, serving.

- `TABLES`: by the names that pages use
"""

from __future__ import annotations

from collections.abc import Callable

from result_format import Row, read, table


def checks(name: str) -> str:
    """Limits that were set before measuring, and whether they hold."""
    return table(
        ["limit", "measured", ""],
        (
            [row["what"], row.get("ratio"), "holds" if row["holds"] else "missed"]
            for row in read(name)["checks"]
        ),
    )


def rollout() -> str:
    """Steps per second of one worker."""
    rows = read("rollout")["contenders"]["rows"]
    places = [(stack, campaigns) for stack in ("old", "new") for campaigns in (1, 4)]
    found = {(row["contender"], row["stack"], row["campaigns"]): row["steps/s"] for row in rows}
    names = dict.fromkeys(row["contender"] for row in rows)
    return table(
        [
            "contender",
            *(f"{stack} stack, {n} campaign{'s' * (n > 1)}" for stack, n in places),
        ],
        (
            [
                name,
                *(
                    f"{found[name, *place]:,}" if (name, *place) in found else ""
                    for place in places
                ),
            ]
            for name in names
        ),
    )


def rollout_gym() -> str:
    """Processor time of a step outside the auction."""
    rows = read("rollout-gym")["gym"]["rows"]
    found = {(row["contender"], row["task"]): row["µs/step"] for row in rows}
    names, tasks = (list(dict.fromkeys(key[at] for key in found)) for at in (0, 1))
    cells = ([name, *(f"{found[name, task]:.0f}" for task in tasks)] for name in names)
    return table(["µs per step", *tasks], cells)


def rollout_parts() -> str:
    """Where the time of a step goes."""
    rows = read("rollout-workers")["parts"]["rows"]
    found = {(row["part"], row["campaigns"]): row["µs/step"] for row in rows}
    names, counts = (dict.fromkeys(key[at] for key in found) for at in (0, 1))
    return table(
        ["part, µs per step", *(f"{n} campaign{'s' * (n > 1)}" for n in counts)],
        ([name, *(found.get((name, n)) for n in counts)] for name in names),
    )


def rollout_workers() -> str:
    """Remote workers."""
    rows = read("rollout-workers")["workers"]["rows"]
    return table(
        ["workers", "steps/s", "bytes per step"],
        ([row["workers"], f"{row['steps/s']:,}", row["bytes/step"]] for row in rows),
    )


def rollout_users() -> str:
    """Steps per second by users of a campaign."""
    rows = read("rollout-users")["users"]["rows"]
    return crossed(rows, "users", "contender")


def rollout_windows() -> str:
    """Steps per second by window length."""
    return crossed(read("rollout-users")["windows"]["rows"], "window", "encoder")


def crossed(rows: list[Row], down: str, across: str) -> str:
    """Steps per second by two keys."""
    found = {(row[down], row[across]): row["steps/s"] for row in rows}
    names, heads = (list(dict.fromkeys(row[key] for row in rows)) for key in (down, across))
    cells = ([f"{name:,}", *(f"{found[name, head]:,}" for head in heads)] for name in names)
    return table([down, *heads], cells)


def learner() -> str:
    """Processor time of a step in RLlib's learner."""
    rows = read("learner")["rows"]
    found = {(row["contender"], row["stack"]): row for row in rows}
    heads = ["model, µs per step and epoch"]
    keys = ("one thread, µs/step", "all cores, µs/step")
    for stack in ("old", "new"):
        heads += [f"{stack} stack, one thread", f"{stack} stack, all cores"]
    cells = (
        [
            name,
            *(
                f"{found[name, stack][key]:.1f}" if (name, stack) in found else ""
                for stack in ("old", "new")
                for key in keys
            ),
        ]
        for name in dict.fromkeys(row["contender"] for row in rows)
    )
    return table(heads, cells)


def model() -> str:
    """The networks alone, by size."""
    columns = {
        "act: policy": "act, policy, µs",
        "act: value": "act, value, µs",
        "learn: policy": "learn, policy, µs",
        "learn: value": "learn, value, µs",
    }
    return table(
        ["d_model", "window", *columns],
        (
            [
                row["d_model"],
                row["window"],
                *(f"{row[key]:.0f}" for key in columns.values()),
            ]
            for row in read("model")["sizes"]
        ),
    )


def model_parts() -> str:
    """Parts of a network at d_model 64 and window 8, and other ways to compute them."""
    result = read("model")
    rows = [[row["part"], f"{row['learn, µs']:.0f}"] for row in result["parts"]]
    for row in (*result["bfloat16"], *result["compile"]):
        if "," in row["network"]:
            rows.append([row["network"], f"{row['learn, µs']:.0f}"])
    return table(["part", "learn, µs per window"], rows)


def encoders() -> str:
    """State, acting and learning by encoder and length."""
    return table(
        ["encoder", "state, kB", "act, µs per step", "learn, µs per step"],
        (
            [
                row["encoder"],
                f"{row['state_bytes'] / 1000:.1f}",
                row["act_us_per_step"],
                row["learn_us_per_step"],
            ]
            for row in read("encoders")["rows"]
        ),
    )


def serving(name: str, part: str) -> str:
    """Latency and throughput by concurrency."""
    rows = []
    for concurrency, servers in read(name)["parts"][part]["rows"].items():
        for server, row in servers.items():
            times = (f"{row[key]:.2f}" for key in ("p50", "p95", "p99", "p99.9"))
            rows.append(
                [
                    concurrency,
                    server,
                    f"{row['per_second']:,.0f}",
                    *times,
                    row["late"],
                    row["errors"],
                ]
            )
    heads = ["concurrency", "server", "requests/s", "p50, ms", "p95", "p99", "p99.9"]
    return table([*heads, "late", "errors"], rows)


def serving_aims() -> str:
    """What a bid server adds to an echo, and what it takes to start."""
    part = read("serve-local")["parts"]["local"]
    compared = part["compared_with"]
    aims = {
        "throughput_share": "share of the throughput at 32 (aim: at least 0.7)",
        "p99_ratio": "p99 at 32, times as long (aim: at most 2)",
        "median_overhead_ms": "a single request, ms longer (aim: at most 2)",
    }
    cells = [
        [text, *(f"{each[key]:.2f}" for each in compared.values())] for key, text in aims.items()
    ]
    alone = {
        "ready_seconds": "ready, seconds after the start (aim: at most 5)",
        "resident_mb": "resident before the first user, MB (aim: below 260)",
    }
    cells += [[text, f"{part[key]:.1f}", ""] for key, text in alone.items() if key in part]
    return table(["", *(f"against `{name}`" for name in compared)], cells)


def serving_others() -> str:
    """What must not happen in a long run."""
    users = read("serve-users")["parts"]["users"]
    day = read("serve-day")["parts"]["day"]
    abuse = read("serve-abuse")["parts"]["abuse"]
    chaos = read("serve-chaos")["parts"]["chaos"]
    notices = chaos["reported"]
    reported = (
        f"{notices['win']:,} wins, {notices['loss']:,} losses, {notices['click']:,} clicks, "
        f"{notices['conversion']:,} conversions"
    )
    resident = day["resident_mb"]
    statuses = ", ".join(f"{count:,} times {status}" for status, count in abuse["statuses"].items())
    return table(
        ["part", "measured"],
        [
            [
                "`users`",
                f"{users['users']:,} users, {users['in_memory']:,} in memory at the end: "
                f"{users['sessions_mb']:.0f} MB of sessions, {users['grown_mb']:.0f} MB more in "
                f"the process, {users['file_mb']:.0f} MB of state file; {users['per_second']:,.0f} "
                "steps/s without HTTP",
            ],
            [
                "`day`",
                f"{resident[3]:.1f} MB after hour 4, {resident[-1]:.1f} MB after hour "
                f"{len(resident)}",
            ],
            [
                "`abuse`",
                f"answers to bad requests: {statuses}; then "
                f"{abuse['requests_after'] - abuse['requests_before']:,.0f} good requests with "
                f"{abuse['errors_after']} errors",
            ],
            [
                "`chaos`",
                f"{chaos['requests']:,} requests on {chaos['connections']} connections, "
                f"{chaos['kills']} kills: {chaos['lost']} lost, {reported}; "
                f"spend {chaos['spend_of_server']:.2f} of {chaos['budget']:.2f}, "
                f"{chaos['apart']:.0e} from the books of the exchange; "
                f"{chaos['statuses'].get('503', 0):,} times 503, {chaos['log_lines']} lines of log",
            ],
        ],
    )


TABLES: dict[str, Callable[[], str]] = {
    "rollout": rollout,
    "rollout-checks": lambda: checks("rollout"),
    "rollout-gym": rollout_gym,
    "rollout-gym-checks": lambda: checks("rollout-gym"),
    "rollout-parts": rollout_parts,
    "rollout-workers": rollout_workers,
    "rollout-users": rollout_users,
    "rollout-windows": rollout_windows,
    "learner": learner,
    "learner-checks": lambda: checks("learner"),
    "model": model,
    "model-parts": model_parts,
    "encoders": encoders,
    "encoders-checks": lambda: checks("encoders"),
    "serve-local": lambda: serving("serve-local", "local"),
    "serve-ray": lambda: serving("serve-ray", "ray"),
    "serve-aims": serving_aims,
    "serve-others": serving_others,
}
