#!/usr/bin/env python3
"""Clients of the cluster: start instances, complete jobs and user tasks, until told to stop (SIGTERM or SIGINT).

usage: load.py LEDGER [--rate N] [--instances N] [--create-only]

Every acknowledged command becomes one line of LEDGER, outside the cluster, with the time it was sent and the time
it was acknowledged, on disk before the next command of that client is sent. A command that fails is a line too, with
op "failed", and is not tried again; the exit code is 1 then. The last line printed is a summary.

Of five instances one is never worked on (plan "parked"), one waits for a human ("approve"), three go through.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time

from cluster import Http, address

PLANS = {
    "parked": {"work": "parked", "path": "review"},
    "approve": {"work": "work", "path": "approve"},
    "through": {"work": "work", "path": "review"},
}
REVIEW = "io.camunda.zeebe:userTask"
# Short, so that work activated just before a backup is free again when the restored broker runs.
JOB_TIMEOUT_MS = 10_000


class Ledger:
    """The file; one line a write, flushed to disk before the caller goes on."""

    def __init__(self, path):
        self.file = open(path, "ab", buffering=0)
        self.lock = threading.Lock()
        self.counts = {}

    def write(self, op, **fields):
        line = json.dumps({"op": op, **fields}).encode() + b"\n"
        with self.lock:
            self.counts[op] = self.counts.get(op, 0) + 1
            self.file.write(line)
        if op != "activate":
            os.fsync(self.file.fileno())


class Clients:
    def __init__(self, ledger, rate, instances, create_only):
        self.ledger = ledger
        self.rate = rate
        self.instances = instances
        self.create_only = create_only
        self.stopping = threading.Event()
        self.numbers = iter(range(10**9))
        self.lock = threading.Lock()

    def command(self, http, what, path, body):
        """(answer, sent, acked), or None when it failed, which is written down."""
        sent = time.time()
        try:
            status, answer = http.call("POST", path, body)
        except OSError as error:
            self.ledger.write("failed", what=what, sent=sent, ended=time.time(), error=str(error))
            return None
        acked = time.time()
        if status not in (200, 204):
            self.ledger.write("failed", what=what, sent=sent, ended=acked, error=f"{status}: {answer}")
            return None
        return answer, sent, acked

    def create(self, clients):
        """One client that starts instances, its share of the rate."""
        http = Http(address("BROKER_REST"))
        due = time.monotonic()
        while not self.stopping.is_set():
            with self.lock:
                number = next(self.numbers)
            if self.instances is not None and number >= self.instances:
                return
            plan = ("parked", "approve", "through", "through", "through")[number % 5]
            variables = {"n": number, **PLANS[plan]}
            done = self.command(http, "create", "/v2/process-instances", {"processDefinitionId": "order", "variables": variables})
            if done:
                answer, sent, acked = done
                key = int(answer["processInstanceKey"])
                self.ledger.write("create", instance=key, n=number, plan=plan, sent=sent, acked=acked)
            due = max(due + clients / self.rate, time.monotonic() - 1)
            self.stopping.wait(max(0.0, due - time.monotonic()))

    def complete(self, kind, element):
        """One worker: activates jobs of one type and completes them."""
        http = Http(address("BROKER_REST"))
        ask = {"type": kind, "maxJobsToActivate": 10, "timeout": JOB_TIMEOUT_MS, "requestTimeout": -1, "worker": "load"}
        while not self.stopping.is_set():
            done = self.command(http, "activate", "/v2/jobs/activation", ask)
            jobs = done[0]["jobs"] if done else []
            if done:
                self.ledger.write("activate", type=kind, jobs=len(jobs), sent=done[1], acked=done[2])
            for job in jobs:
                key = int(job["key"])
                done = self.command(http, f"complete {element}", f"/v2/jobs/{key}/completion", {})
                if done:
                    instance = int(job["processInstanceKey"])
                    self.ledger.write("complete", element=element, job=key, instance=instance, sent=done[1], acked=done[2])
            if not jobs:
                self.stopping.wait(0.1)

    def run(self, asked):
        """Until `asked` holds something, or every thread has ended."""
        creators = 2
        threads = [threading.Thread(target=self.create, args=(creators,)) for _ in range(creators)]
        if not self.create_only:
            threads += [threading.Thread(target=self.complete, args=("work", "work")) for _ in range(2)]
            threads += [threading.Thread(target=self.complete, args=(REVIEW, "review"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.1)
                if asked:
                    self.stopping.set()


def main():
    arguments = argparse.ArgumentParser(description="clients of the cluster, with a ledger")
    arguments.add_argument("ledger")
    arguments.add_argument("--rate", type=float, default=6, help="instances a second")
    arguments.add_argument("--instances", type=int, help="stop creating after so many")
    arguments.add_argument("--create-only", action="store_true", help="no workers: every instance stays where it starts")
    options = arguments.parse_args()
    ledger = Ledger(options.ledger)
    clients = Clients(ledger, options.rate, options.instances, options.create_only)
    asked = []
    for number in (signal.SIGTERM, signal.SIGINT):
        # Only an append: a second signal may interrupt the handler of the first, which must hold no lock then.
        signal.signal(number, lambda *_: asked.append(1))
    clients.run(asked)
    print(json.dumps(ledger.counts), flush=True)
    return 1 if ledger.counts.get("failed") else 0


if __name__ == "__main__":
    sys.exit(main())
