# SPDX-License-Identifier: Apache-2.0
"""What the scenarios must show, and the table of what they showed."""

import json
import pathlib

GAP_MS_LIMIT = 1000

# field, what it must be, in words and as a test: what no client may notice, however slow the lab is
_CLIENT_GOALS = (
    ("stream_bytes", "all that was asked for", lambda result: result["stream_bytes"] == result["stream_bytes_expected"]),
    ("stream_bytes_wrong", "0", lambda result: result["stream_bytes_wrong"] == 0),
    ("stream_failure", "none", lambda result: result["stream_failure"] == "none"),
    ("connections_reset", "0", lambda result: result["connections_reset"] == 0),
    ("requests", "more than 0", lambda result: result["requests"] > 0),
    ("requests_failed", "0", lambda result: result["requests_failed"] == 0),
    ("owner_after", "b", lambda result: result["owner_after"] == "b"),
)
_GOALS = (
    ("protected_before", "true", lambda result: result["protected_before"]),
    *_CLIENT_GOALS,
    ("gap_ms", f"under {GAP_MS_LIMIT}", lambda result: result["gap_ms"] < GAP_MS_LIMIT),
)


def _number(value):
    return "-" if value is None else f"{value:.1f}"


_COLUMNS = (
    ("scenario", lambda result: result["name"]),
    ("run", lambda result: str(result["run"])),
    ("protected", lambda result: "yes" if result["protected_before"] else "no"),
    ("stream MB", lambda result: f"{result['stream_bytes'] / 1e6:.1f}"),
    ("wrong bytes", lambda result: str(result["stream_bytes_wrong"])),
    ("stream ended", lambda result: "whole" if result["stream_failure"] == "none" else result["stream_failure"]),
    ("resets", lambda result: str(result["connections_reset"])),
    ("requests failed", lambda result: f"{result['requests_failed']}/{result['requests']}"),
    ("pings lost", lambda result: f"{result['ping_lost']}/{result['ping_sent']}"),
    ("gap ms", lambda result: f"{result['gap_ms']:.0f}"),
    ("detect ms", lambda result: _number(result["detect_ms"])),
    ("checkpoints", lambda result: str(result["checkpoints"])),
    ("pause ms p50/max", lambda result: f"{_number(result['pause_ms_p50'])}/{_number(result['pause_ms_max'])}"),
    ("owner", lambda result: result["owner_after"]),
)


def missed_goals(result):
    """One sentence for each goal that a scenario's result misses. `restart` is a comparison and has none."""
    where = f"{result['name']} run {result['run']}"
    if "error" in result:
        return [f"{where}: {result['error']}"]
    if result["name"] == "restart":
        return []
    return _missed(where, result, _GOALS)


def missed_client_goals(result):
    """One sentence for each thing that the client noticed, but for waiting."""
    return _missed("the client", result, _CLIENT_GOALS)


def _missed(where, result, goals):
    return [f"{where}: {field} is {result[field]}, must be {words}" for field, words, met in goals if not met(result)]


def table(results):
    """The results as text, one line each; those that broke off are left out."""
    rows = [[title for title, _ in _COLUMNS]]
    rows += [[cell(result) for _, cell in _COLUMNS] for result in results if "error" not in result]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows)


def conclude(document, missed, json_file):
    """Says what was missed, writes the document with it where asked, and returns the process's exit status."""
    for sentence in missed:
        print(f"MISSED {sentence}")
    if json_file:
        text = json.dumps(document | {"goals_missed": missed}, indent=2)
        pathlib.Path(json_file).write_text(text + "\n", encoding="utf-8")
    return 1 if missed else 0
