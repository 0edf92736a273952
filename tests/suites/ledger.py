# SPDX-License-Identifier: Apache-2.0
"""The book of a test run: a line for each suite as it ends, and the sum."""

import time


class Ledger:
    """Runs suites one after the other and adds up."""

    def __init__(self):
        self._outcomes = {}
        self._seconds = {}
        self._more = {}

    def run(self, name, suite):
        """Runs the suite and prints its line, the reasons of what it skipped, and what failed. True: nothing did."""
        begin = time.monotonic()
        outcome = suite()
        self._outcomes[name] = outcome
        self._seconds[name] = round(time.monotonic() - begin, 1)
        verdict = "FAILED" if outcome.failed else "ok"
        counts = f"{outcome.passed} passed, {outcome.failed} failed, {len(outcome.skipped)} skipped"
        print(f"{verdict:6}  {name:44} {counts:36} {self._seconds[name]:7.1f} s", flush=True)
        for reason in outcome.skipped:
            print(f"        skipped {reason}")
        if outcome.failed:
            print(outcome.details, flush=True)
        return outcome.failed == 0

    def totals(self):
        outcomes = self._outcomes.values()
        return {
            "passed": sum(outcome.passed for outcome in outcomes),
            "failed": sum(outcome.failed for outcome in outcomes),
            "skipped": sum(len(outcome.skipped) for outcome in outcomes),
        }

    def add_to_report(self, fields):
        """More fields of the report, besides the counts."""
        self._more |= fields

    def report(self):
        suites = [{"name": name, "passed": outcome.passed, "failed": outcome.failed, "skipped": outcome.skipped,
                   "seconds": self._seconds[name]} for name, outcome in self._outcomes.items()]
        return self.totals() | {"suites": suites} | self._more

    def closing_line(self):
        totals = self.totals()
        skipped = f", {totals['skipped']} skipped" if totals["skipped"] else ""
        return f"{totals['passed']} passed, {totals['failed']} failed{skipped}"
