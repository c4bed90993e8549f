"""How many nodes, how large a database and what a store a deployment needs, from what was measured of each request.

    python -m bench.capacity --check | --write

The costs are those of docs/costs.json. What is asked for is a population of images and renditions whose popularity
follows Zipf's law. A CDN answers the given share of the requests, the most popular ones, as a cache does that forgets
the least recently used (Che's approximation: an object is there if it was asked for within a characteristic time). What
it does not answer meets the disk of a node, then the store's shared renditions, which are kept for some days, and is
rendered if neither has it. Requests are taken to come at random (Poisson), which is kind to no cache.

Source: Che, Tung, Wang, "Hierarchical Web Caching Systems", IEEE JSAC 20(7), 2002; Fricker, Robert, Roberts, "A
versatile and accurate approximation for LRU cache performance", ITC 24, 2012.
"""

import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[1] / "docs"
DOCUMENT = DOCS / "capacity.md"
BEGIN, END = "<!-- made by bench/capacity.py -->\n", "<!-- end -->\n"

_GB = 10**9
_DAY = 86_400.0
_MONTH = 30 * _DAY


@dataclass(frozen=True, slots=True)
class Model:
    """What is assumed; change it here, and run this again.

    Attributes:
        variants: How many renditions of an image are asked for, over time.
        zipf: The exponent of their popularity.
        originals: The share of requests that are for originals.
        large: The share of the images that have 12 megapixels; the others have 2.
        ladder: The share of renditions that are small enough to be made from the ladder.
        growth_days: In how many days all images came in, evenly.
        node_cores: Of a node.
        node_disk: For its cache of renditions, in bytes.
        used: Up to which share of its CPU a node is used, so that one may fail.
        shared_days: How long the store keeps renditions.
        gb_month, puts_million, gets_million: What the store costs, in US dollars: S3 Standard, us-east-1, list prices.
    """

    variants: int = 6
    zipf: float = 0.9
    originals: float = 0.05
    large: float = 0.3
    ladder: float = 0.85
    growth_days: float = 3 * 365
    node_cores: int = 8
    node_disk: float = 100 * _GB
    used: float = 0.6
    shared_days: float = 30
    gb_month: float = 0.023
    puts_million: float = 5.0
    gets_million: float = 0.4


@dataclass(frozen=True, slots=True)
class Plan:
    """What a deployment needs.

    Attributes:
        images: How many there are.
        rate: How many requests the users make in a second.
        hit_rate: The share that the CDN answers.
        origin: How many requests reach the nodes in a second.
        disk, shared, rendered: Which shares of these are answered so.
        cores: How many CPU cores the nodes use.
        nodes: How many nodes that makes.
        database_gb: How large the database is.
        database_rate: How many queries it answers in a second.
        database_cores: How many CPU cores it uses.
        store_tb: What the store keeps.
        store_rate: How many requests it answers in a second.
        dollars: What the store costs in a month.
    """

    images: float
    rate: float
    hit_rate: float
    origin: float
    disk: float
    shared: float
    rendered: float
    cores: float
    nodes: int
    database_gb: float
    database_rate: float
    database_cores: float
    store_tb: float
    store_rate: float
    dollars: float


def plan(images: float, rate: float, hit_rate: float, costs: dict[str, Any], model: Model) -> Plan:
    """Work out what so many images and requests need."""
    groups = _popularity(images * model.variants, model.zipf)
    requests = [(count, share * rate * (1 - model.originals)) for count, share in groups]  # a second, of each object
    cdn_time = _time_for_hits(requests, hit_rate)
    missed = [(count, each * math.exp(-each * cdn_time)) for count, each in requests]
    origin_renditions = sum(count * each for count, each in missed)
    large, usual = costs["12"], costs["2"]

    def mean(kind: str, what: str) -> float:
        return float(model.large * large[kind][what] + (1 - model.large) * usual[kind][what])

    rendition_bytes = mean("ladder", "bytes")
    # The number of nodes settles how much disk there is, and that how many nodes are needed: a few rounds settle both.
    nodes = 2
    for _ in range(30):
        each_node = [(count, each / nodes) for count, each in missed]
        disk_time = _time_for_size(each_node, model.node_disk / rendition_bytes)
        on_disk = shared = rendered = 0.0
        for count, each in each_node:
            absent = math.exp(-each * disk_time)
            on_disk += nodes * count * each * (1 - absent)
            asked = nodes * each * absent
            kept = asked * model.shared_days * _DAY
            shared += count * asked * kept / (1 + kept)
            rendered += count * asked / (1 + kept)
        originals = rate * model.originals * (1 - hit_rate)
        uploads = images / (model.growth_days * _DAY)
        parts = (
            (on_disk, "cached"), (rendered * model.ladder, "ladder"), (rendered * (1 - model.ladder), "cold"),
            (originals, "original"), (uploads, "upload"),
        )  # fmt: skip
        node_ms = sum(per_second * mean(kind, "node_cpu_ms") for per_second, kind in parts)
        node_ms += shared * costs["shared"]["node_cpu_ms"]
        database_ms = sum(per_second * mean(kind, "database_cpu_ms") for per_second, kind in parts)
        needed = max(2, math.ceil(node_ms / 1000 / model.node_cores / model.used))
        if needed == nodes:
            break
        nodes = needed
    origin = origin_renditions + originals
    total = max(origin_renditions, 1e-12)
    kept_renditions = min(
        sum(count * (1 - math.exp(-each * model.shared_days * _DAY)) for count, each in missed),
        (rendered + 1e-12) * model.shared_days * _DAY,
    )
    originals_bytes = images * (mean("upload", "original_bytes") + mean("upload", "ladder_bytes"))
    stored = originals_bytes + kept_renditions * rendition_bytes
    objects = mean("upload", "objects")
    puts, gets = uploads * objects + rendered, shared + 2 * rendered + originals
    dollars = stored / _GB * model.gb_month + (puts * model.puts_million + gets * model.gets_million) * _MONTH / 1e6
    queries = origin + 4 * uploads
    return Plan(
        images, rate, hit_rate, origin, on_disk / total, shared / total, rendered / total, node_ms / 1000, nodes,
        images * costs["row_bytes"] / _GB, queries, database_ms / 1000, stored / 1e12, puts + gets, dollars,
    )  # fmt: skip


def _popularity(objects: float, exponent: float) -> list[tuple[float, float]]:
    """Return groups of objects that are about equally popular: how many, and each one's share of the requests."""
    groups, low = [], 1.0
    while low <= objects:
        high = min(objects + 1, max(low + 1, math.floor(low * 1.05)))
        weight = (high ** (1 - exponent) - low ** (1 - exponent)) / (1 - exponent)
        groups.append((high - low, weight))
        low = high
    total = sum(weight for _, weight in groups)
    return [(count, weight / total / count) for count, weight in groups]


def _time_for_hits(requests: list[tuple[float, float]], hit_rate: float) -> float:
    """Return the characteristic time of a cache that answers such a share of the requests, in seconds."""
    total = sum(count * each for count, each in requests)
    return _bisect(lambda t: sum(c * each * -math.expm1(-each * t) for c, each in requests) / total - hit_rate)


def _time_for_size(requests: list[tuple[float, float]], objects: float) -> float:
    """Return the characteristic time of a cache that has room for so many objects, in seconds."""
    if sum(count for count, _ in requests) <= objects:
        return 1e15
    return _bisect(lambda t: sum(c * -math.expm1(-each * t) for c, each in requests) - objects)


def _bisect(function: Any) -> float:
    low, high = 1e-9, 1e15
    for _ in range(200):
        middle = math.sqrt(low * high)
        if function(middle) < 0:
            low = middle
        else:
            high = middle
    return low


SIZES = (
    (1e6, 1e2, 0.90), (1e6, 1e3, 0.95), (1e8, 1e3, 0.90), (1e8, 1e4, 0.95), (1e8, 1e5, 0.99),
    (1e10, 1e4, 0.90), (1e10, 1e5, 0.95), (1e10, 1e6, 0.95), (1e10, 1e6, 0.99),
)  # fmt: skip


def tables(costs: dict[str, Any], model: Model) -> str:
    """Return the tables of docs/capacity.md."""
    lines = [
        "| | node, ms of CPU | database, ms of CPU | store, ms of CPU | median answer, ms | requests to the store |",
        "|---|---|---|---|---|---|",
    ]
    names = {
        "upload": "upload", "cold": "rendition of 1100 px, from the original", "ladder": "rendition of 160 to 640 px,"
        " from the ladder", "cached": "rendition that this node has", "original": "original",
    }  # fmt: skip
    for size, label in (("2", "2 megapixels"), ("12", "12 megapixels")):
        for kind, name in names.items():
            lines.append(_cost_row(f"{name}, {label}", costs[size][kind]))
    lines.append(_cost_row("rendition that another node has made", costs["shared"]))
    upload2, upload12 = costs["2"]["upload"], costs["12"]["upload"]
    lines += [
        "",
        f"An image takes {costs['row_bytes']} bytes of the database. An original of 2 megapixels has"
        f" {upload2['original_bytes']:,} bytes and {upload2['ladder_bytes']:,} in smaller copies, one of 12"
        f" {upload12['original_bytes']:,} and {upload12['ladder_bytes']:,}.",
        "",
        "| images | requests/s | CDN | to the nodes/s | from disk, shared, rendered | nodes | database | queries/s"
        " | store | requests/s to it | its cost a month |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for images, rate, hit_rate in SIZES:
        p = plan(images, rate, hit_rate, costs, model)
        lines.append(
            f"| {_power(images)} | {_power(rate)} | {hit_rate:.0%} | {p.origin:,.0f} |"
            f" {p.disk:.0%}, {p.shared:.0%}, {p.rendered:.0%} | {p.nodes:,} ({p.cores:,.1f} cores) |"
            f" {p.database_gb:,.1f} GB | {p.database_rate:,.0f} | {p.store_tb:,.1f} TB | {p.store_rate:,.0f} |"
            f" ${p.dollars:,.0f} |"
        )
    return "\n".join(lines) + "\n"


def _cost_row(name: str, cost: dict[str, Any]) -> str:
    requests = ", ".join(f"{count:g} {method}" for method, count in cost["store_requests"].items() if count) or "none"
    return (
        f"| {name} | {cost['node_cpu_ms']:.1f} | {cost['database_cpu_ms']:.2f} | {cost['store_cpu_ms']:.1f} |"
        f" {cost['median_ms']:.1f} | {requests} |"
    )


def _power(number: float) -> str:
    return f"10<sup>{round(math.log10(number))}</sup>"


def main() -> None:
    """Print the tables, write them into docs/capacity.md, or check that they are there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    made = tables(json.loads((DOCS / "costs.json").read_text()), Model())
    if not options.write and not options.check:
        print(made)
        return
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(BEGIN)
    new = before + BEGIN + made + END + rest.partition(END)[2]
    if options.check and new != text:
        sys.exit("docs/capacity.md does not say what docs/costs.json does: python -m bench.capacity --write")
    DOCUMENT.write_text(new)


if __name__ == "__main__":
    main()
