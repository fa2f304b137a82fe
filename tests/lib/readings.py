"""The readings that ship with Vug, and what the founding query must say about them: recomputed with exact fractions, by
nothing of the engine's."""
import csv
from fractions import Fraction

from cluster import READINGS


def load(path=READINGS):
    """[(id, timestamp, temperature as text or None)] in file order."""
    with open(path, newline='') as file:
        return [(row['id'], int(row['timestamp']), row['temperature'] or None) for row in csv.DictReader(file)]


class Average:
    """The mean of doubles, correctly rounded: the sum is exact."""

    def __init__(self):
        self.sum = Fraction(0)
        self.count = 0

    def add(self, text):
        if text is not None:
            self.sum += Fraction(float(text))
            self.count += 1

    @property
    def value(self):
        return float(self.sum / self.count) if self.count else None


def running_averages(rows, start_time=0):
    """{id: [average after each of its rows]} of the founding query."""
    states, results = {}, {}
    for name, timestamp, temperature in rows:
        if timestamp < start_time:
            continue
        state = states.setdefault(name, Average())
        state.add(temperature)
        results.setdefault(name, []).append(state.value)
    return results
