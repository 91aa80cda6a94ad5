#!/usr/bin/env python3
"""Clients of the cluster: start instances, complete jobs and user tasks, until SIGTERM or SIGINT.

usage: load.py CONFIG LEDGER [--rate N] [--instances N] [--create-only]

Every acknowledged command becomes one line of LEDGER, outside the cluster, with the time it was sent and the time
it was acknowledged, on disk before the next command of that client is sent. A command that fails is a line too, with
op "failed", and is not retried; the exit code is 1 then. The last line printed is a summary.

Of ten instances two are never worked on (plan "parked"), one waits in a user task for ever ("approve"), one has its
user task completed ("approved"), six go through a worker ("through").
"""

import argparse
import json
import os
import signal
import sys
import threading
import time

from cluster import Config, documents

PLANS = {
    "parked": {"path": "parked"},
    "approve": {"path": "approve"},
    "approved": {"path": "approve"},
    "through": {"path": "review"},
}
ROTATION = ("parked", "approve", "through", "through", "through", "parked", "approved", "through", "through", "through")
# Short, so that a job activated just before a backup is free again when the restored broker runs.
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
    def __init__(self, config, ledger, rate, instances, create_only):
        self.config = config
        self.ledger = ledger
        self.rate = rate
        self.instances = instances
        self.create_only = create_only
        self.stopping = threading.Event()
        self.numbers = iter(range(10**9))
        self.to_approve = set()
        self.lock = threading.Lock()

    def command(self, http, what, path, body):
        """(response, sent, acknowledged), or None when it failed, which the ledger records."""
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
        http = self.config.http("rest")
        due = time.monotonic()
        while not self.stopping.is_set():
            with self.lock:
                number = next(self.numbers)
            if self.instances is not None and number >= self.instances:
                return
            plan = ROTATION[number % len(ROTATION)]
            variables = {"n": number, **PLANS[plan]}
            done = self.command(http, "create", "/v2/process-instances", {"processDefinitionId": "order", "variables": variables})
            if done:
                answer, sent, acked = done
                key = int(answer["processInstanceKey"])
                self.ledger.write("create", instance=key, n=number, plan=plan, sent=sent, acked=acked)
                if plan == "approved":
                    with self.lock:
                        self.to_approve.add(key)
            due = max(due + clients / self.rate, time.monotonic() - 1)
            self.stopping.wait(max(0.0, due - time.monotonic()))

    def review(self):
        """One worker: activates jobs of type `review` and completes them."""
        http = self.config.http("rest")
        wanted = {"type": "review", "maxJobsToActivate": 10, "timeout": JOB_TIMEOUT_MS, "requestTimeout": -1, "worker": "load"}
        while not self.stopping.is_set():
            done = self.command(http, "activate", "/v2/jobs/activation", wanted)
            jobs = done[0]["jobs"] if done else []
            if done:
                self.ledger.write("activate", jobs=len(jobs), sent=done[1], acked=done[2])
            for job in jobs:
                # 8.6 and 8.7 name the key of a job differently.
                key = int(job.get("jobKey") or job["key"])
                self.complete(http, "review", f"/v2/jobs/{key}/completion", key, int(job["processInstanceKey"]))
            if not jobs:
                self.stopping.wait(0.1)

    def approve(self):
        """One person: completes the user tasks that Tasklist lists, of the instances with the plan `approved`."""
        http, search = self.config.http("rest"), self.config.http("search")
        query, fields = {"term": {"state": "CREATED"}}, ["key", "processInstanceId"]
        while not self.stopping.is_set():
            try:
                listed = [document for _, document in documents(search, "tasklist-task-*", query, fields)]
            except OSError as error:
                self.ledger.write("failed", what="list user tasks", sent=time.time(), ended=time.time(), error=str(error))
                listed = []
            for task in listed:
                key, instance = int(task["key"]), int(task["processInstanceId"])
                with self.lock:
                    wanted = instance in self.to_approve
                    self.to_approve.discard(instance)
                if wanted:
                    self.complete(http, "approve", f"/v2/user-tasks/{key}/completion", key, instance)
            self.stopping.wait(1)

    def complete(self, http, element, path, key, instance):
        done = self.command(http, f"complete {element}", path, {})
        if done:
            self.ledger.write("complete", element=element, job=key, instance=instance, sent=done[1], acked=done[2])

    def run(self, signalled):
        """Until `signalled` holds something, or every thread has ended."""
        creators = 2
        threads = [threading.Thread(target=self.create, args=(creators,)) for _ in range(creators)]
        if not self.create_only:
            threads += [threading.Thread(target=self.review) for _ in range(3)]
            threads += [threading.Thread(target=self.approve)]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.1)
                if signalled:
                    self.stopping.set()


def main():
    arguments = argparse.ArgumentParser(description="clients of the cluster, with a ledger")
    arguments.add_argument("config")
    arguments.add_argument("ledger")
    arguments.add_argument("--rate", type=float, help="instances a second (default: `rate` of [load])")
    arguments.add_argument("--instances", type=int, help="stop creating after so many")
    arguments.add_argument("--create-only", action="store_true", help="no workers: every instance stays where it starts")
    options = arguments.parse_args()
    config, ledger = Config(options.config), Ledger(options.ledger)
    clients = Clients(config, ledger, options.rate or config.load["rate"], options.instances, options.create_only)
    signalled = []
    for number in (signal.SIGTERM, signal.SIGINT):
        # Only an append: a second signal may interrupt the handler of the first, which must hold no lock then.
        signal.signal(number, lambda *_: signalled.append(1))
    clients.run(signalled)
    print(json.dumps(ledger.counts), flush=True)
    return 1 if ledger.counts.get("failed") else 0


if __name__ == "__main__":
    sys.exit(main())
