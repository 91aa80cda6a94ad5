#!/usr/bin/env python3
"""Checks that a restored cluster is whole: compares it with the ledger of the load clients, and sends commands.

usage: check.py CONFIG LEDGER --zeebe-requested SECONDS --run-started SECONDS [--as-restored] [--json FILE]

It judges the instances that were acknowledged before the backup's Zeebe step was requested. It waits until the
importers have caught up, prints one line per check, and exits with 1 when a check failed. It changes the cluster: at
the end every old instance has been completed or cancelled, and a few new ones too. With --as-restored it judges the
restored state only, for a backup that is expected to be broken: the further checks would wait for events that never come.
"""

import argparse
import collections
import json
import sys
import threading
import time

from cluster import Config, documents, partitions, until
from load import PLANS

NEW_INSTANCES = 10
SAMPLES = 5


# ---- documents of the restored cluster -----------------------------------------------------------------------


def operate_instances(search):
    """State of every process instance in Operate; a key held twice has two states."""
    states = collections.defaultdict(list)
    query = {"term": {"joinRelation": "processInstance"}}
    for _, document in documents(search, "operate-list-view-*", query, ["key", "state"]):
        states[int(document["key"])].append(document["state"])
    return states


def tasklist_tasks(search):
    """(task key, element, state) of every user task in Tasklist, by process instance."""
    tasks = collections.defaultdict(list)
    fields = ["key", "processInstanceId", "flowNodeBpmnId", "state"]
    for _, document in documents(search, "tasklist-task-*", {"match_all": {}}, fields):
        tasks[int(document["processInstanceId"])].append(
            (int(document["key"]), document["flowNodeBpmnId"], document["state"])
        )
    return tasks


def record_sequences(search):
    """Sequence numbers of the exported records by (value type, partition), and how many records there are."""
    sequences, total = collections.defaultdict(list), 0
    for _, document in documents(search, "zeebe-record*", {"match_all": {}}, ["valueType", "partitionId", "sequence"]):
        partition = int(document["partitionId"])
        # The upper bits hold the partition.
        sequences[document["valueType"], partition].append(int(document["sequence"]) - (partition << 51))
        total += 1
    return sequences, total


def holes_and_doubles(sequences):
    """Faults of the sequence numbers, as text; the numbers count from one, without a gap or a double."""
    found = []
    for (kind, partition), numbers in sorted(sequences.items()):
        distinct = set(numbers)
        missing = max(distinct) - len(distinct) if min(distinct) >= 1 else -1
        doubles = len(numbers) - len(distinct)
        if missing or doubles:
            found.append(f"{kind} of partition {partition}: {missing} missing, {doubles} double")
    return found


def history(search, instance):
    """The exported records of one instance, oldest first, as VALUE_TYPE.INTENT."""
    fields = ["position", "valueType", "intent"]
    query = {"term": {"value.processInstanceKey": instance}}
    found = [document for _, document in documents(search, "zeebe-record*", query, fields)]
    found.sort(key=lambda document: document["position"])
    return [f"{d['valueType']}.{d['intent']}" for d in found]


def count(search, indices, query):
    status, answer = search.call("POST", f"/{indices}/_count?ignore_unavailable=true", {"query": query})
    if status != 200:
        raise OSError(f"count of {indices} responded with {status}: {answer}")
    return answer["count"]


def totals(search, broker):
    """Exported positions, and instances as the records, Operate and Tasklist count them."""
    search.call("POST", "/zeebe-record*,operate-*,tasklist-*/_refresh?ignore_unavailable=true")

    def records(intent):
        terms = [{"term": {"intent": intent}}, {"term": {"value.bpmnElementType": "PROCESS"}}]
        return count(search, "zeebe-record_process-instance_*", {"bool": {"filter": terms}})

    def operate(state):
        terms = [{"term": {"joinRelation": "processInstance"}}, {"term": {"state": state}}]
        return count(search, "operate-list-view-*", {"bool": {"filter": terms}})

    ended = records("ELEMENT_COMPLETED"), records("ELEMENT_TERMINATED")
    return {
        "exported": {k: p["exportedPosition"] for k, p in sorted(partitions(broker).items())},
        "records": (records("ELEMENT_ACTIVATED") - sum(ended), *ended),
        "operate": (operate("ACTIVE"), operate("COMPLETED"), operate("CANCELED")),
        "tasks": tuple(count(search, "tasklist-task-*", {"term": {"state": s}}) for s in ("CREATED", "COMPLETED")),
        "activated": count(search, "zeebe-record_process-instance_*", {"term": {"value.bpmnElementType": "USER_TASK"}}),
    }


def caught_up(search, broker, within):
    """Waits until the counts stand still and agree; returns the counts, and whether they agreed."""
    last, still_since, end = None, time.monotonic(), time.monotonic() + within
    while True:
        now = totals(search, broker)
        if now != last:
            last, still_since = now, time.monotonic()
        agreed, still = now["records"] == now["operate"], time.monotonic() - still_since
        if (agreed and still > 4) or still > 25 or time.monotonic() > end:
            return now, agreed
        time.sleep(1)


# ---- commands to the broker ----------------------------------------------------------------------


class Broker:
    """Commands to the broker, and the instances that they have proven to exist."""

    def __init__(self, config):
        self.config = config
        self.proven = set()
        self.jobs = set()
        self.approved = set()
        self.refused = []
        self.lock = threading.Lock()

    def drain(self, kinds, quiet):
        """Completes jobs of these types until none has come for `quiet` seconds; how many."""
        done = []

        def work(kind):
            http = self.config.http("rest")
            last = time.monotonic()
            wanted = {"type": kind, "maxJobsToActivate": 50, "timeout": 30_000, "requestTimeout": -1, "worker": "check"}
            while time.monotonic() - last < quiet:
                status, answer = http.call("POST", "/v2/jobs/activation", wanted)
                jobs = answer["jobs"] if status == 200 else []
                for job in jobs:
                    key, instance = int(job.get("jobKey") or job["key"]), int(job["processInstanceKey"])
                    status, answer = http.call("POST", f"/v2/jobs/{key}/completion", {})
                    with self.lock:
                        if status == 204:
                            self.proven.add(instance)
                            self.jobs.add(key)
                            done.append(key)
                        else:
                            self.refused.append(f"job {key}: {status}")
                if jobs:
                    last = time.monotonic()
                else:
                    time.sleep(0.2)

        threads = [threading.Thread(target=work, args=(kind,)) for kind in kinds for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(done)

    def definite(self, paths):
        """The definite status of each POST by its path; 5xx is retried, then it counts as 'no answer'."""
        answers, left = {}, list(paths)

        def send():
            http = self.config.http("rest")
            while True:
                with self.lock:
                    if not left:
                        return
                    path = left.pop()
                status = 599
                for _ in range(5):
                    try:
                        status, _ = http.call("POST", path, {})
                    except OSError as error:
                        status = 599
                        print(f"       {error}", flush=True)
                    if status < 500:
                        break
                    time.sleep(0.5)
                with self.lock:
                    answers[path] = status if status < 500 else "no answer"

        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers

    def approve(self, tasks):
        """Completes user tasks, [(task key, instance)], by command to the broker; returns the rejected ones, and those
        without a response, which are neither (a cancel decides about them)."""
        paths = {f"/v2/user-tasks/{key}/completion": (key, instance) for key, instance in tasks}
        refused, unanswered = [], []
        for path, status in self.definite(paths).items():
            key, instance = paths[path]
            if status == 204:
                self.proven.add(instance)
                self.approved.add(key)
            elif status == "no answer":
                unanswered.append(key)
            else:
                refused.append((key, status))
        return refused, unanswered

    def cancel(self, instances):
        """Cancels instances that nothing else has proven; returns the known and the unknown ones."""
        paths = {f"/v2/process-instances/{instance}/cancellation": instance for instance in instances}
        known, unknown = [], []
        for path, status in self.definite(paths).items():
            (known if status == 204 else unknown).append(paths[path])
        return known, unknown

    def create(self, number, plan):
        http = self.config.http("rest")
        keys = []
        for n in range(number):
            variables = {"n": n, **PLANS[plan]}
            status, answer = http.call(
                "POST", "/v2/process-instances", {"processDefinitionId": "order", "variables": variables}
            )
            if status != 200:
                raise OSError(f"a new instance was rejected: {status} {answer}")
            keys.append(int(answer["processInstanceKey"]))
        return keys


# ---- records --------------------------------------------------------------------------


def exported_tasks(search, instances):
    """(task key, instance) of these instances' user tasks, from the exported records."""
    terms = [{"term": {"intent": "CREATED"}}, {"terms": {"value.processInstanceKey": list(instances)}}]
    fields = ["key", "value.processInstanceKey"]
    query = {"bool": {"filter": terms}}
    found = documents(search, "zeebe-record_user-task_*", query, fields)
    return [(int(document["key"]), int(document["value.processInstanceKey"])) for _, document in found]


# ---- the checks -----------------------------------------------------------------------------------


class Report:
    def __init__(self):
        self.results = []

    def check(self, name, bad, detail):
        """One check; `bad` lists the faults."""
        bad = sorted(bad) if isinstance(bad, (set, dict)) else list(bad)
        self.results.append({"check": name, "ok": not bad, "bad": len(bad), "detail": detail})
        tail = "" if not bad else f" - {len(bad)} wrong, e.g. {', '.join(str(b) for b in bad[:SAMPLES])}"
        print(f"{'ok    ' if not bad else 'FAILED'} {name}: {detail}{tail}", flush=True)

    def failed(self):
        return [r["check"] for r in self.results if not r["ok"]]


def read_ledger(path):
    creates, completes = {}, []
    with open(path, encoding="utf-8") as file:
        for line in file:
            entry = json.loads(line)
            if entry["op"] == "create":
                creates[entry["instance"]] = entry
            elif entry["op"] == "complete":
                completes.append(entry)
    return creates, completes


def run_checks(config, options, report):
    search, broker = config.http("search"), config.http("zeebe")
    creates, completes = read_ledger(options.ledger)
    before = options.zeebe_requested
    old = {key: entry for key, entry in creates.items() if entry["acked"] < before}
    done = [entry for entry in completes if entry["acked"] < before]
    ended = {entry["instance"] for entry in done}
    approved = {entry["instance"] for entry in done if entry["element"] == "approve"}
    with_task = {key for key, entry in old.items() if entry["plan"] in ("approve", "approved")}
    during = [key for key, entry in old.items() if entry["acked"] >= options.run_started]

    report.check(
        "there is something to check",
        [name for name, n in (("ledger", len(old)), ("unfinished", len(old.keys() - ended)), ("approved", len(approved)), ("during", len(during))) if not n],
        f"{len(old)} instances acknowledged before the Zeebe step, {len(ended)} of them completed, "
        f"{len(old.keys() - ended)} unfinished, {len(during)} started during the run",
    )

    now, agreed = caught_up(search, broker, config.limits["caught_up"])
    print(f"       importers stand still: {json.dumps(now)}{'' if agreed else ' (records and Operate differ)'}", flush=True)

    # Records as they were restored, and what the restored broker exported again.
    sequences, total = record_sequences(search)
    report.check(
        "restored records have no gap and no double",
        holes_and_doubles(sequences),
        f"{total} records of {len({k for k, _ in sequences})} value types",
    )

    shown, tasks = operate_instances(search), tasklist_tasks(search)
    active = {key for key, states in shown.items() if "ACTIVE" in states}
    report.check("every acknowledged instance is in Operate", old.keys() - shown.keys(), f"{len(old)} instances")
    report.check(
        "Operate holds each instance once",
        {key for key, states in shown.items() if len(states) != 1},
        f"{len(shown)} instances, {len(active)} active",
    )
    report.check(
        "every completed instance is completed",
        {key for key in ended if shown.get(key) != ["COMPLETED"]},
        f"{len(ended)} instances",
    )
    report.check(
        "every unfinished instance is unfinished",
        {key for key in old if old[key]["plan"] in ("parked", "approve") and shown.get(key, ["ACTIVE"]) != ["ACTIVE"]},
        f"{sum(entry['plan'] in ('parked', 'approve') for entry in old.values())} instances",
    )
    keys = [key for held in tasks.values() for key, _, _ in held]
    report.check(
        "Tasklist holds each task once",
        {key for key, n in collections.Counter(keys).items() if n != 1}
        | {key for key in with_task if len(tasks.get(key, [])) != 1}
        | {key for key, held in tasks.items() if len(held) != 1},
        f"{len(keys)} tasks; {len(with_task)} instances that must have one",
    )
    report.check(
        "Tasklist and Operate agree on open tasks",
        {key for key, held in tasks.items() if any(state == "CREATED" for _, _, state in held)} - active
        | {key for key in approved if [state for _, _, state in tasks.get(key, [])] != ["COMPLETED"]},
        f"{sum(state == 'CREATED' for held in tasks.values() for _, _, state in held)} open tasks",
    )

    # From here on the state of the broker shows in its responses to commands.
    commands = Broker(config)
    refused, unanswered = commands.approve(
        [(key, instance) for instance, held in tasks.items() for key, element, state in held
         if element == "approve" and state == "CREATED"]
    )
    report.check(
        "the broker rejects none of the user tasks that Tasklist shows",
        refused,
        f"{len(commands.proven)} completed, {len(unanswered)} without a response, left to a cancel",
    )
    report.check("the broker completes user tasks at all", [] if commands.proven else ["none"], f"{len(commands.proven)} completed")
    # Load clients' locks have long expired: their jobs were activated before the loss.
    drained = commands.drain(["review", "parked"], 3)
    cancelled, unknown = commands.cancel(sorted(active - commands.proven))
    report.check(
        "every instance that Operate shows active is known to the broker",
        unknown,
        f"{len(active)} active; {len(active & commands.proven)} went on by a command, {len(cancelled)} accepted a cancel",
    )
    report.check("every instance that the broker completes is in Operate", commands.proven - shown.keys(), f"{drained} jobs")
    report.check(
        "no completed job is handed out again",
        commands.jobs & {entry["job"] for entry in done},
        f"{len(done)} completed before",
    )
    report.check("the broker rejects none of its own jobs", commands.refused, f"{drained} jobs")
    if options.as_restored:
        return

    began = time.monotonic()
    new = commands.create(NEW_INSTANCES, "through") + commands.create(NEW_INSTANCES, "approve")
    wanted = (active - set(unknown)) | set(new)

    responses, rounds = {}, []

    def finished():
        rounds.append(round(time.monotonic() - began))
        commands.drain(["review", "parked"], 0.5)
        open_tasks = [(key, instance) for instance, held in tasklist_tasks(search).items()
                      for key, element, state in held if element == "approve" and state == "CREATED"]
        # The tasks of new instances come from the records too, so that the broker is judged even if Tasklist shows none.
        waiting = [task for task in exported_tasks(search, new) if task[0] not in commands.approved]
        not_done, silent = commands.approve(set(open_tasks + waiting))
        responses.update({key: status for key, status in not_done} | {key: "no answer" for key in silent})
        states = operate_instances(search)
        left = {key for key in wanted if states.get(key) not in (["COMPLETED"], ["CANCELED"])}
        return states if not left else None

    states = until(config.limits["finished"], finished, 1) or operate_instances(search)
    report.check(
        "old instances complete",
        {key for key in active - set(unknown) - set(cancelled) if states.get(key) != ["COMPLETED"]},
        f"{len(active) - len(unknown) - len(cancelled)} instances",
    )
    stuck = sorted(key for key in new if states.get(key) != ["COMPLETED"])
    report.check("new instances start and complete", stuck, f"{len(new)} instances")
    waiting = set(new[NEW_INSTANCES:])
    until(config.limits["finished"], lambda: waiting <= tasklist_tasks(search).keys(), 1)
    unseen = waiting - tasklist_tasks(search).keys()
    report.check("Tasklist shows the tasks of new instances", unseen, f"{len(waiting)} instances")
    if stuck:
        print(f"       {len(rounds)} rounds within {rounds[-1]} s; responses of the broker for user tasks: {responses}")
        print(f"       for jobs: {commands.refused[-SAMPLES:]}", flush=True)
    for key in stuck[:SAMPLES]:
        print(f"       {key}: Operate {states.get(key)}, Tasklist {tasklist_tasks(search).get(key)}", flush=True)
        print(f"       {key}: records {' '.join(history(search, key))}", flush=True)

    def whole():
        sequences, total = record_sequences(search)
        return None if holes_and_doubles(sequences) else total

    # Bulks of several value types reach the engine one after another.
    total = until(10, whole, 1)
    sequences, _ = record_sequences(search)
    report.check("records go on without gap or double", holes_and_doubles(sequences), f"{total or 'not all'} records")


def main():
    arguments = argparse.ArgumentParser(description="checks that a restored cluster is whole")
    arguments.add_argument("config")
    arguments.add_argument("ledger")
    arguments.add_argument("--zeebe-requested", type=float, required=True, help="seconds since the epoch")
    arguments.add_argument("--run-started", type=float, required=True, help="seconds since the epoch")
    arguments.add_argument("--as-restored", action="store_true", help="judge the restored state only")
    arguments.add_argument("--json", help="file for the results, beside stdout")
    options = arguments.parse_args()
    report = Report()
    try:
        run_checks(Config(options.config), options, report)
    except OSError as error:
        report.check("the cluster responds", [error], "a request failed")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(report.results, file, indent=1)
    if report.failed():
        print(f"NOT WHOLE: {len(report.failed())} of {len(report.results)} checks failed")
        return 1
    print(f"WHOLE: {len(report.results)} checks passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
