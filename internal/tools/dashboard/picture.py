"""Draws docs/operations/dashboard.json from what a running fleet's Prometheus has recorded.

`make dashboard-picture` starts the fleet and runs this beside it. It reads and writes products for some minutes, flushes
Redis, makes Redis hang and writes many rows at once; then it asks Prometheus what each panel asks, and draws the answers.
"""

import argparse
import json
import random
import re
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend is chosen first)
from matplotlib.ticker import FuncFormatter  # noqa: E402

INK, GRID, PAPER = "#202124", "#dadce0", "#ffffff"
STEP = 5  # seconds, the scrape interval of the fleet's Prometheus


def get(url, **params):
    if params:
        url += "?" + urllib.parse.urlencode(params)
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


class Load:
    """Readers and writers over HTTP, until stop."""

    def __init__(self, servers):
        self.servers, self.done, self.failed = servers, threading.Event(), 0
        keys = get(servers[0] + "/products?limit=200")
        self.keys = [p["id"] for p in keys["products"]]
        self.threads = [threading.Thread(target=self.read, args=(s,)) for s in servers for _ in range(2)]
        self.threads.append(threading.Thread(target=self.write))
        for t in self.threads:
            t.start()

    def key(self):
        return self.keys[min(int(random.paretovariate(0.6)) - 1, len(self.keys) - 1)]

    def read(self, server):
        while not self.done.wait(0.01):
            try:
                get(f"{server}/products/{self.key()}")
            except (urllib.error.URLError, TimeoutError):
                self.failed += 1

    def write(self):
        while not self.done.wait(0.1):
            body = json.dumps({"name": "Lamp", "price": round(random.uniform(1, 99), 2)}).encode()
            request = urllib.request.Request(f"{random.choice(self.servers)}/products/{self.key()}", body, method="PUT")
            try:
                urllib.request.urlopen(request, timeout=30).close()
            except (urllib.error.URLError, TimeoutError):
                self.failed += 1

    def stop(self):
        self.done.set()
        for t in self.threads:
            t.join()


def record(servers, redis, database, minutes):
    """Puts the fleet under load and breaks it, and returns when that began and ended."""
    begun = time.time()
    load = Load(servers)
    quarter = minutes * 60 / 4
    time.sleep(quarter)
    subprocess.run(["redis-cli", "-u", redis, "flushall"], check=True, stdout=subprocess.DEVNULL)
    time.sleep(quarter)
    subprocess.run(["redis-cli", "-u", redis, "client", "pause", "15000"], check=True, stdout=subprocess.DEVNULL)
    time.sleep(quarter)
    subprocess.run(["psql", "-q", database, "-c", "update products set price = price + 1"], check=True)
    time.sleep(quarter)
    load.stop()
    print(f"{load.failed} requests failed")
    return begun, time.time()


def expression(expr):
    """The query with the dashboard's variables replaced as Grafana does for `All`."""
    return expr.replace("$job", ".*").replace("$cache", ".*").replace("$__rate_interval", f"{4 * STEP}s")


def legend(form, labels):
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda m: labels.get(m[1], ""), form or "").strip()


UNITS = {"s": ((60, "min", 60), (1, "s", 1), (1e-3, "ms", 1e-3), (1e-6, "µs", 1e-6), (0, "ns", 1e-9)),
         "bytes": ((1 << 20, "MiB", 1 << 20), (1 << 10, "KiB", 1 << 10), (0, "B", 1))}


def short(value, unit):
    if unit == "percentunit":
        return f"{100 * value:.3g}%"
    if value == 0:
        return "0"
    for least, name, size in UNITS.get(unit, ()):
        if abs(value) >= least:
            return f"{value / size:.3g} {name}"
    return f"{value:.4g}" + ("/s" if unit in ("reqps", "ops") else "")


def draw(dashboard, prometheus, begun, ended, into):
    panels = dashboard["panels"]
    rows = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in panels)
    figure = plt.figure(figsize=(16, rows * 0.36), facecolor=PAPER, dpi=80)
    empty = []
    for panel in panels:
        at = panel["gridPos"]
        left, width = at["x"] / 24, at["w"] / 24
        top, height = 1 - at["y"] / rows, at["h"] / rows
        if panel["type"] == "row":
            figure.text(left + 0.005, top - height * 0.7, panel["title"], fontsize=13, weight="bold", color=INK)
            continue
        unit = panel["fieldConfig"]["defaults"].get("unit")
        axes = figure.add_axes((left + 0.035, top - height * 0.84, width - 0.045, height * 0.68))
        axes.set_title(panel["title"], fontsize=10, loc="left", color=INK)
        drawn = stat if panel["type"] == "stat" else timeseries
        if not drawn(axes, panel, unit, prometheus, begun, ended):
            empty.append(panel["title"])
    figure.savefig(into, facecolor=PAPER)
    return empty


def stat(axes, panel, unit, prometheus, begun, ended):
    shown = []
    for target in panel["targets"]:
        for series in get(prometheus + "/api/v1/query", query=expression(target["expr"]), time=ended)["data"]["result"]:
            name = legend(target.get("legendFormat"), series["metric"])
            shown.append(f"{name} {short(float(series['value'][1]), unit)}".strip())
    axes.axis("off")
    axes.text(0.5, 0.5, "\n".join(shown), ha="center", va="center", fontsize=14 if len(shown) < 3 else 10, color=INK)
    return shown


def timeseries(axes, panel, unit, prometheus, begun, ended):
    drawn = 0
    for target in panel["targets"]:
        answer = get(prometheus + "/api/v1/query_range", query=expression(target["expr"]), start=begun, end=ended, step=STEP)
        for series in answer["data"]["result"]:
            points = [(float(t) - begun, float(v)) for t, v in series["values"] if v not in ("NaN", "+Inf", "-Inf")]
            if points:
                drawn += 1
                axes.plot(*zip(*points), linewidth=1.2, label=legend(target.get("legendFormat"), series["metric"]))
    axes.set_xlim(0, ended - begun)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{int(x) // 60}:{int(x) % 60:02}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: short(y, unit)))
    axes.tick_params(labelsize=7, colors=INK)
    axes.grid(color=GRID, linewidth=0.5)
    for side in axes.spines.values():
        side.set_color(GRID)
    if 0 < drawn <= 8:
        axes.legend(fontsize=6, frameon=False, ncols=2, loc="best")
    if not drawn:
        axes.text(0.5, 0.5, "no data", ha="center", va="center", transform=axes.transAxes, fontsize=9, color=INK)
    return drawn


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--servers", required=True, help="the product servers' addresses, comma-separated")
    p.add_argument("--prometheus", required=True)
    p.add_argument("--redis", required=True)
    p.add_argument("--database", required=True)
    p.add_argument("--minutes", type=float, default=4)
    p.add_argument("--dashboard", default="docs/operations/dashboard.json")
    p.add_argument("--into", default="docs/operations/dashboard.png")
    a = p.parse_args()
    begun, ended = record(a.servers.split(","), a.redis, a.database, a.minutes)
    with open(a.dashboard, encoding="utf-8") as f:
        dashboard = json.load(f)
    empty = draw(dashboard, a.prometheus, begun, ended, a.into)
    print(f"{a.into}: {len(dashboard['panels'])} panels; no data in {', '.join(empty) or 'none'}")


if __name__ == "__main__":
    main()
