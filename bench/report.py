"""What a run of the comparison showed, as a table and as a plot."""

import json
from pathlib import Path
from typing import Any

_TITLES = {
    "cold": ("Conversions of an image never seen before", "4 clients"),
    "first": ("Conversions of an image seen at its upload, each asked for the first time", "4 clients"),
    "delivery": ("Answers without pixels", "16 clients, one process each; per second of the server's CPU time"),
    "upload": ("Uploads", "4 clients"),
    "clients": ("A mix of first conversions", "5 of 10 to 300 px JPEG, 1 to 1200 px WebP, 4 of 2 MP"),
    "fairness": ("Small beside huge", "2 clients ask for small ones"),
    "memory": ("Peak memory of all processes", "PSS, each service freshly started"),
    "steady": ("Memory after so many first conversions", "PSS"),
    "start": ("From the command to the first answer", ""),
}
_OWN = "ProgImage"


def write(rows: list[dict[str, Any]], about: dict[str, Any], folder: Path) -> None:
    """Write benchmark.json, benchmark.md and benchmark.png.

    Args:
        rows: What each service showed in each case.
        about: Of the run: machine, versions, settings.
        folder: Where to.
    """
    (folder / "benchmark.json").write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    lines = ["# The benchmark's last run", "", "Made by `make bench`; docs/performance.md says what it means.", ""]
    lines += [f"- {name}: {value}" for name, value in about.items()]
    for group, (title, how) in _TITLES.items():
        of_group = [row for row in rows if row["group"] == group]
        if of_group:
            lines += ["", f"## {title}", "", *([f"{how}.", ""] if how else []), *_table(of_group)]
    (folder / "benchmark.md").write_text("\n".join(lines) + "\n")
    _plot(rows, folder / "benchmark.png")


def _table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| case | service | a second | ratio | for 1 s of CPU | p50 ms | p99 ms | memory MiB | |",
        "|---|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for case in dict.fromkeys(row["case"] for row in rows):
        of_case = [row for row in rows if row["case"] == case]
        own = next((row for row in of_case if row["service"] == _OWN and "rate" in row), None)
        for row in of_case:
            if "rate" not in row:
                lines.append(f"| {case} | {row['service']} | | | | | | | {row['note']} |")
                continue
            ratio = f"{row['rate'] / own['rate']:.2f}" if own and own["rate"] else ""
            failed = f" {row['failures']} failed" if row["failures"] else ""
            cells = [
                case, row["service"], f"{row['rate']:.4g}", ratio, f"{row['per_cpu_second']:.4g}",
                f"{row['p50'] * 1000:.3g}", f"{row['p99'] * 1000:.3g}",
                f"{row['memory'] / 2**20:.0f}" if row["memory"] else "", row["note"] + failed,
            ]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the throughput of each conversion, as multiples of the best peer's."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    groups = [group for group in ("cold", "first") if any(row["group"] == group for row in rows)]
    if not groups:
        return
    figure, axes = pyplot.subplots(len(groups), 1, figsize=(12, 5 * len(groups)), squeeze=False)
    services = list(dict.fromkeys(row["service"] for row in rows if row["group"] in groups))
    for axis, group in zip(axes[:, 0], groups, strict=True):
        of_group = [row for row in rows if row["group"] == group]
        cases = list(dict.fromkeys(row["case"] for row in of_group))
        for place, service in enumerate(services):
            rates = [
                next((r["rate"] for r in of_group if (r["case"], r["service"]) == (case, service) and "rate" in r), 0)
                for case in cases
            ]
            best = [
                max((r["rate"] for r in of_group if r["case"] == case and "rate" in r and _is_peer(r)), default=1)
                for case in cases
            ]
            heights = [rate / most for rate, most in zip(rates, best, strict=True)]
            if any(heights):
                width = 0.8 / len(services)
                axis.bar([x + place * width for x in range(len(cases))], heights, width, label=service)
        axis.axhline(1, color="grey", linewidth=0.8)
        axis.set_xticks([x + 0.4 for x in range(len(cases))], cases, fontsize=8, rotation=12)
        axis.set_ylabel("conversions a second,\nas multiples of the best peer's")
        axis.set_title(_TITLES[group][0])
        axis.legend(fontsize=7, ncols=4)
    figure.tight_layout()
    figure.savefig(path, dpi=90)


def _is_peer(row: dict[str, Any]) -> bool:
    return not row["service"].startswith((_OWN, "bare"))
