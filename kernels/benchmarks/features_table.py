"""features.md from what features.py measured."""

from __future__ import annotations

from typing import Any

SEEN = {"run": 315, "features": 4096, "mib": 5700, "json": 104e6, "html": 142e6}  # before this benchmark was written


def table(results: dict[str, Any]) -> str:
    lines = ["# The feature store", "", f"Printed by `features.py` on {results['machine']}. stories260K, layer 3,"]
    lines += ["TopK with 16,384 latents, k = 16, TinyStories, 200,704 counted tokens. “Others”: cores of the two that"]
    lines += ["other programs took meanwhile; CPU seconds, of all threads of a run, suffer less from them."]
    for name, way in {"speed": speed, "loss": loss, "memory": memory, "dashboard": dashboard}.items():
        if name in results:
            lines += ["", *way(results)]
    return "\n".join(lines) + "\n"


def speed(results: dict[str, Any]) -> list[str]:
    found, lines = results["speed"], ["## Beside plain dense torch", ""]
    largest = max(value for name, value in found["differ"].items() if name not in ("histogram", "intervals", "ties"))
    lines += [f"Outputs equal first: numbers and logits to {largest:.0e} (relative above 1), histograms and interval"]
    lines += ["counts to 1e-5 of the firings, the same top examples in the same order with the same windows."]
    lines += [f"Left out: {found['differ']['ties']:.0f} latents of which rounding decided a near-tie of the k largest."]
    lines += ["“The same work”: a build without near misses and neighbours, which the peer does not make; it also"]
    lines += ["writes every firing with its logit effect, draws random examples and fills logit histograms. The peer"]
    lines += ["pads rows to the longest of sixteen, as plain code does; the store runs rows of like length together."]
    lines += [""]
    lines += ["| threads | run | dense torch, s (others) | store, s | the same work, s | ratio | CPU ratio |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for threads, runs in found["runs"].items():
        ways = ("dense", "saekit", "same")
        turns = list(zip(*(runs[way] for way in ways), strict=True))
        best = tuple(min(runs[way], key=lambda run: run["seconds"]) for way in ways)
        for name, turn in [*((str(i + 1), turn) for i, turn in enumerate(turns)), ("best of each", best)]:
            a, _, c = turn
            cells = [threads, name, *(f"{run['seconds']:.1f} ({run['others']:.1f})" for run in turn)]
            cells += [f"{a['seconds'] / c['seconds']:.1f}", f"{a['cpu_seconds'] / c['cpu_seconds']:.1f}"]
            lines.append("| " + " | ".join(cells) + " |")
    for threads, runs in found["runs"].items():
        for name, way in {"Dense torch": "dense", "The store": "saekit"}.items():
            run = min(runs[way], key=lambda run: run["seconds"])
            lines += ["", f"{name}, {threads} threads, its best run by parts:", ""]
            lines += ["| part | s |", "|---|---|"]
            parts = sorted(run["parts"].items(), key=lambda item: -item[1])
            lines += [f"| {part} | {value:.1f} |" for part, value in parts if value > 0.05]
            if way == "saekit":
                lines += ["", "After the reading parts of the store are made side by side: together they say more."]
    return lines


def loss(results: dict[str, Any]) -> list[str]:
    run = results["loss"]
    effects = run["parts"]["loss effects"]
    return [
        "## Loss effects",
        "",
        f"With `loss_examples=4` a build took {run['seconds']:.0f} s, {effects:.0f} s of them for loss effects "
        f"(others: {run['others']:.1f}).",
    ]


def memory(results: dict[str, Any]) -> list[str]:
    lines = ["## Memory over the number of tokens", "", "Each build in a process of its own. “Anonymous” leaves out"]
    lines += ["files mapped from the disk: the chunks of the pass, and libraries.", ""]
    lines += ["| counted tokens | peak, MiB | anonymous peak, MiB | anonymous before the build, MiB |"]
    lines += ["|---|---|---|---|"]
    return lines + [
        f"| {row['tokens']:,} | {row['peak']:,.0f} | {row['anonymous']:,.0f} | {row['before']:,.0f} |"
        for row in results["memory"]
    ]


def dashboard(results: dict[str, Any]) -> list[str]:
    found = results["dashboard"]
    n, total = found["features"], found["run"] + found["json"] + found["html"]
    lines = ["## Beside SAEDashboard 0.8.0", "", f"Measured here on the first {n:,} features and {found['tokens']:,}"]
    lines += [f"tokens (others: {found['others']:.1f}). Activations and codes of the first row equal ours first."]
    lines += ["“Seen before”: 4,096 features, not measured here. sae-vis 0.3.7, seen before: 288 s for 512."]
    lines += [""]
    rows: list[tuple[str, list[str]]] = []
    seen, of = SEEN, SEEN["features"]
    rows.append(("features", [f"{n:,}", f"{of:,}"]))
    rows.append(("seconds (JSON and HTML apart)", [f"{found['run']:.0f}", f"{seen['run']}"]))
    rows.append(("seconds with JSON and HTML", [f"{total:.0f}", "not seen"]))
    rows.append(("milliseconds a feature", [f"{1e3 * found['run'] / n:.0f}", f"{1e3 * seen['run'] / of:.0f}"]))
    rows.append(("peak memory, MiB", [f"{found['peak_mib']:,.0f}", f"{seen['mib']:,}"]))
    rows.append(("JSON, bytes a feature", [f"{found['json_bytes'] / n:,.0f}", f"{seen['json'] / of:,.0f}"]))
    rows.append(("HTML, bytes a feature", [f"{found['html_bytes'] / n:,.0f}", f"{seen['html'] / of:,.0f}"]))
    rows.append(("examples a feature", [f"{found['examples'] / n:.1f}", "not seen"]))
    rows.append(("JSON, bytes a feature and example", [f"{found['json_bytes'] / found['examples']:,.0f}", "not seen"]))
    size = results.get("speed", {}).get("size")
    head = ["", "SAEDashboard, here", "seen before"]
    if size:
        head.append("the store")
        runs = [run for each in results["speed"]["runs"].values() for run in each["saekit"]]
        run = min(runs, key=lambda each: each["seconds"])
        ms, features = 1e3 * run["seconds"] / size["features"], size["features"]
        ours = [f"{features:,}", f"{run['seconds']:.0f}", f"{run['seconds']:.0f}", f"{ms:.1f}", "see above"]
        ours += [f"{size['bytes'] / features:,.0f}", "", f"{size['examples'] / features:.1f}"]
        ours += [f"{size['bytes'] / size['examples']:,.0f}"]
        for row, value in zip(rows, ours, strict=True):
            row[1].append(value)
    lines += ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    lines += [f"| {name} | " + " | ".join(values) + " |" for name, values in rows]
    if size:
        example = found["json_bytes"] / found["examples"] * size["examples"] / size["bytes"]
        feature = found["json_bytes"] / n * features / size["bytes"]
        lines += ["", "The store (all of its files but the carried dictionary, every firing included) takes"]
        lines += [
            f"1/{example:.1f} of the JSON's bytes a feature and example, and 1/{feature:.1f} a feature; a build is"
        ]
        lines += [f"{1e3 * found['run'] / n / ms:.0f} × as fast a feature."]
    return lines
