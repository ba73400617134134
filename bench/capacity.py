"""What a load costs, when that is too much, and what is the first to be: a model, and a simulation of its queue.

    python -m bench.capacity

The costs are those that bench_capacity measured on a whole site (bench/results.json). A load is so many submissions a
second, running jobs, viewers and providers. Utilization is rate times cost, added up for the web and the background.
Waiting is simulated: requests come at random, each process answers them one after the other.
"""

from __future__ import annotations

import heapq
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

from bench import results
from bench.stack import percentile, shown

POLL_SECONDS = 30.0
#: Somebody who looks at the site: an open event stream, and a page of the list every ten seconds.
READS_A_SECOND = 0.1
#: The slowest request of a hundred may take this long.
MOST_MS = 300.0
#: The background may be busy for this share of the time: then it has worked off a peak within a minute.
FULL = 0.8
#: SQLite has one writer. A job causes this many writes from submission to end, beside those of its cost each minute.
WRITES_A_JOB = 12
SIMULATED_SECONDS = 120.0
FACTORS = (1, 10, 100)


@dataclass(frozen=True)
class Load:
    submissions: float  # a second
    jobs: int  # running, and polled
    viewers: float
    providers: int = 1
    organizations: float = 1.0

    def times(self, factor: float) -> Load:
        """Return the load of so many times as many organizations of the same size."""
        return replace(
            self,
            submissions=self.submissions * factor,
            jobs=round(self.jobs * factor),
            viewers=self.viewers * factor,
            organizations=self.organizations * factor,
        )


@dataclass(frozen=True)
class Costs:
    """Milliseconds of a core."""

    rest_web: float  # a second
    rest_background: float  # a second
    submission_web: float
    submission_background: float
    delivery: float  # what a submission adds for each open stream
    reading: float  # a page of the list
    poll: float  # of one job
    cycle: float = 10.0  # of a poll of one more provider

    def web(self, load: Load) -> float:
        """Return how many cores the web needs."""
        submissions = load.submissions * self.submission_watched(load)
        return (self.rest_web + submissions + load.viewers * READS_A_SECOND * self.reading) / 1000

    def submission_watched(self, load: Load) -> float:
        """Return what a submission costs the web with those who see it."""
        return self.submission_web + load.viewers / load.organizations * self.delivery

    def background(self, load: Load, poll_seconds: float = POLL_SECONDS) -> float:
        polls = (load.jobs * self.poll + (load.providers - 1) * self.cycle) / poll_seconds
        return (self.rest_background + load.submissions * self.submission_background + polls) / 1000


NAMES = {
    "rest_web": "the web at rest, a second",
    "rest_background": "the background at rest, a second",
    "submission_web": "a submission, web",
    "submission_background": "a submission, background",
    "delivery": "a submission, for each open stream",
    "reading": "a page of the list",
    "poll": "a poll of one job",
}


def measured_costs() -> Costs:
    """Return those of bench/results.json. Raises KeyError where they were not measured."""
    figures = {figure.name: figure.value for figure in results.read()["capacity"].figures}
    return Costs(**{field: figures[name] for field, name in NAMES.items()})


def web_p99_ms(costs: Costs, load: Load, processes: int) -> float:
    """Simulate the web processes. Returns the milliseconds within which 99 of 100 requests are answered."""
    if costs.web(load) >= processes:
        return float("inf")
    chance = random.Random(1)
    kinds = (
        (load.submissions, costs.submission_watched(load)),
        (load.viewers * READS_A_SECOND, costs.reading),
    )
    arrivals: list[tuple[float, float]] = []
    for rate, cost in kinds:
        moment = 0.0
        while rate and (moment := moment + chance.expovariate(rate)) < SIMULATED_SECONDS:
            arrivals.append((moment, cost / 1000))
    free = [0.0] * processes
    took = []
    for moment, cost in sorted(arrivals):
        begins = max(moment, heapq.heappop(free))
        heapq.heappush(free, begins + cost)
        took.append((begins + cost - moment) * 1000)
    return percentile(took, 99) if took else 0.0


def holds(costs: Costs, load: Load, processes: int = 1, workers: int = 1) -> bool:
    return web_p99_ms(costs, load, processes) <= MOST_MS and costs.background(load) <= FULL * workers


def most(costs: Costs, load: Load, processes: int = 1, workers: int = 1) -> float:
    """Return how many times this load is held, to within a hundredth."""
    low, high = 0.0, 1.0
    while holds(costs, load.times(high), processes, workers):
        low, high = high, high * 2
    while high - low > high / 100:
        middle = (low + high) / 2
        low, high = (middle, high) if holds(costs, load.times(middle), processes, workers) else (low, middle)
    return low


def processes_for(costs: Costs, load: Load) -> int:
    """Return how many web processes answer it in time."""
    processes = int(costs.web(load)) + 1
    while web_p99_ms(costs, load, processes) > MOST_MS:
        processes += 1
    return processes


def forecast(costs: Costs, usual: Load) -> Iterator[str]:
    """Yield a line for each factor of what one web process and one core of background hold."""
    held = usual.times(most(costs, usual))
    yield "| | submissions/s | running jobs | viewers | web, cores | processes | background, cores | writes/s |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    for factor in FACTORS:
        load = held.times(factor)
        writes = load.submissions * WRITES_A_JOB + load.jobs / 60
        numbers = (load.submissions, load.jobs, load.viewers, costs.web(load))
        cells = [f"{factor}x", *(shown(number, "") for number in numbers), str(processes_for(costs, load))]
        yield f"| {' | '.join([*cells, shown(costs.background(load), ''), shown(writes, '')])} |"


#: Of one busy organization: ten submissions a minute, a hundred jobs that run, and twenty viewers.
USUAL = Load(submissions=1 / 6, jobs=100, viewers=20)


def main() -> int:
    try:
        costs = measured_costs()
    except KeyError:
        sys.exit("The costs are not measured yet: make bench ONLY=capacity")
    print(*forecast(costs, USUAL), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
