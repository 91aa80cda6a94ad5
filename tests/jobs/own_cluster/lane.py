#!/usr/bin/env python3
"""The daemon against a real Camunda 8.6.0 under load: backups, retention, a kill inside the pause, loss and restore.

usage: lane.py DIR   (CAMUNDA_BACKUPD is the binary, `camunda env` is in the environment, the cluster is up)

Proves, in order: client commands go on without a failure while backups are taken; retention deletes everywhere; a
daemon killed inside the pause leaves exporting to its successor; a pause broken by somebody else fails the run; a
backup taken after all that brings a lost cluster back; and the same checks are red for a backup taken in the wrong
order. Exits 1 with a sentence at the first thing that is not so. Prints its figures at the end.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from cluster import Http, address, instant, partitions, until

HERE = Path(__file__).resolve().parent
BINARY = os.environ["CAMUNDA_BACKUPD"]
KEEP = 2
RUNS = 5


class NotSo(Exception):
    """Something the lane proves is not so."""


def say(text):
    print(f"-- {text}", flush=True)


def must(truth, text):
    if not truth:
        raise NotSo(text)


def camunda(*words):
    subprocess.run([HERE / "camunda", *words], check=True)


# ---- the daemon -----------------------------------------------------------------------------------


class Daemon:
    """The daemon as a process; its log, a JSON object a line, is its story."""

    def __init__(self, directory):
        self.config = directory / "config.toml"
        self.log = directory / "daemon.log"
        self.process = None
        self.config.write_text(
            f"""[daemon]
state_dir = "{directory}/state"
runtime_dir = "{directory}/run"
instance = "real-lane"

[http]
listen = "127.0.0.1:0"

[log]
format = "json"

[clusters.orders.self_managed]
zeebe    = "{address('BROKER_MANAGEMENT')}"
operate  = "{address('OPERATE_MANAGEMENT')}"
tasklist = "{address('TASKLIST_MANAGEMENT')}"
rest     = "{address('BROKER_REST')}"
search   = {{ url = "{address('SEARCH')}", repository = "{address('SNAPSHOT_REPOSITORY')}" }}

[schedules.often]
clusters = ["orders"]
cron = "*/15 * * * * *"
keep = {{ successful = {KEEP}, failed = {KEEP} }}
""",
            encoding="utf-8",
        )
        self.log.touch()

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([BINARY, "--config", self.config, "serve"], stderr=log, stdin=subprocess.DEVNULL)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)

    def events(self, *names):
        found = []
        for line in self.log.read_text(encoding="utf-8").splitlines():
            try:
                event = json.loads(line)
            except ValueError as error:
                raise NotSo(f"the daemon's log holds a line that is no JSON: {line[:200]}") from error
            if not names or event.get("event") in names:
                found.append(event)
        return found

    def next(self, name, seen, limit, where=lambda event: True):
        """The first event of that name beyond the `seen` ones that were there before."""

        def look():
            must(self.process.poll() is None, f"the daemon ended with {self.process.returncode}: see {self.log}")
            new = [event for event in self.events(name)[seen:] if where(event)]
            return new[0] if new else None

        event = until(limit, look, 0.02)
        must(event, f"no {name} within {limit} s: see {self.log}")
        return event

    def ask(self, *words):
        answer = subprocess.run([BINARY, "--config", self.config, "--json", *words], capture_output=True, text=True, check=False)
        must(answer.returncode == 0, f"`{' '.join(words)}` ended with {answer.returncode}: {answer.stderr}")
        return json.loads(answer.stdout)


class Load:
    """The load clients, in a process of their own."""

    def __init__(self, ledger):
        self.ledger = ledger
        self.process = subprocess.Popen([sys.executable, HERE / "load.py", ledger], stdout=subprocess.PIPE, text=True)
        self.began = time.time()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=60)
        counts = json.loads(out.strip().splitlines()[-1])
        must(self.process.returncode == 0, f"client commands failed while backups were taken: {counts}")
        must(counts.get("create") and counts.get("complete"), f"the load clients did nothing: {counts}")
        return counts

    def latencies(self, windows):
        """Milliseconds of every command sent inside one of the windows."""
        taken = []
        for line in self.ledger.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if entry["op"] in ("create", "complete") and any(a <= entry["sent"] <= b for a, b in windows):
                taken.append((entry["acked"] - entry["sent"]) * 1000)
        return sorted(taken)


def phases(broker):
    return {p["exporterPhase"] for p in partitions(broker).values()}


def own_seconds(number):
    """What the components themselves took for one backup, from their own timestamps."""
    search, broker = Http(address("SEARCH")), Http(address("BROKER_MANAGEMENT"))
    own = {}
    repository = address("SNAPSHOT_REPOSITORY")
    for name, pattern in (
        ("operate", f"camunda_operate_{number}_*"),
        ("tasklist", f"camunda_tasklist_{number}_*"),
        ("records", f"camunda_zeebe_records_backup_{number}"),
    ):
        status, answer = search.call("GET", f"/_snapshot/{repository}/{pattern}")
        if status != 200:
            return None
        taken = answer["snapshots"]
        own[name] = (max(s["end_time_in_millis"] for s in taken) - min(s["start_time_in_millis"] for s in taken)) / 1000
    status, answer = broker.call("GET", f"/actuator/backups/{number}")
    if status != 200:
        return None
    times = [(instant(p["createdAt"]), instant(p["lastUpdatedAt"])) for p in answer["details"]]
    own["zeebe"] = max(t for _, t in times) - min(t for t, _ in times)
    return own


def gone_everywhere(number):
    """Which places still hold a backup."""
    held = []
    for name in ("BROKER", "OPERATE", "TASKLIST"):
        status, _ = Http(address(f"{name}_MANAGEMENT")).call("GET", f"/actuator/backups/{number}")
        if status != 404:
            held.append(f"{name.lower()} ({status})")
    path = f"/_snapshot/{address('SNAPSHOT_REPOSITORY')}/camunda_*_{number}*"
    status, answer = Http(address("SEARCH")).call("GET", path)
    if status == 200 and answer["snapshots"]:
        held.append(f"{len(answer['snapshots'])} snapshots")
    return held


# ---- the story ------------------------------------------------------------------------------------


def scheduled_runs(daemon):
    """Backups seconds apart until retention has deleted; what the components took, by backup."""
    daemon.start()
    own, end = {}, time.monotonic() + 400
    while True:
        succeeded = daemon.events("run.succeeded")
        for event in succeeded:
            if event["backup_id"] not in own:
                own[event["backup_id"]] = own_seconds(event["backup_id"])
        if len(succeeded) >= RUNS and daemon.events("backup.deleted"):
            break
        must(time.monotonic() < end, f"after 400 s only {len(succeeded)} backups are completed or none is deleted")
        must(daemon.process.poll() is None, f"the daemon ended with {daemon.process.returncode}")
        time.sleep(0.3)
    must(not daemon.events("run.failed"), f"a run failed: {daemon.events('run.failed')}")
    for event in daemon.events("backup.deleted"):
        held = gone_everywhere(event["backup_id"])
        must(not held, f"backup {event['backup_id']} is called deleted, but is held by {', '.join(held)}")
    newest = succeeded[-1]["backup_id"]
    must(len(gone_everywhere(newest)) == 4, f"the newest good backup {newest} is not whole in its places")
    say(f"{len(succeeded)} backups completed, {len(daemon.events('backup.deleted'))} deleted by retention and gone everywhere")
    return {number: times for number, times in own.items() if times}


def killed_inside_the_pause(daemon, broker):
    """SIGKILL inside the pause; seconds from the successor's start until exporting runs."""
    for _ in range(5):
        paused = daemon.next("exporting.paused", len(daemon.events("exporting.paused")), 60)
        daemon.kill()
        if phases(broker) == {"SOFT_PAUSED"}:
            break
        daemon.start()
    else:
        raise NotSo("the daemon could not be killed inside a pause")
    time.sleep(1)
    must(phases(broker) == {"SOFT_PAUSED"}, "exporting resumed although nobody was there to resume it")
    run = paused["run_id"]
    began = time.time()
    daemon.start()
    must(until(30, lambda: phases(broker) == {"EXPORTING"}, 0.02), "exporting is still paused 30 s after the restart")
    took = time.time() - began
    recovered = daemon.next("run.recovered", 0, 10, lambda e: e["run_id"] == run)
    ended = until(60, lambda: [e for e in daemon.events("run.succeeded", "run.failed") if e["run_id"] == run], 0.1)
    must(ended, f"run {run} has not ended")
    must(daemon.ask("debts") == [], "a debt is left after the restart")
    say(f"killed inside the pause: the run {recovered['outcome']}, {ended[0]['event']}; exporting again {took:.2f} s after the restart")
    return took


def broken_by_somebody_else(daemon, broker):
    """Somebody resumes inside our pause: the daemon itself must call the run failed, and say why."""
    paused = daemon.next("exporting.paused", len(daemon.events("exporting.paused")), 60)
    camunda("freeze", "s3")
    try:
        status, answer = broker.call("POST", "/actuator/exporting/resume")
        must(status == 200 and answer["status"] == 204, f"the resume was refused: {status} {answer}")
        time.sleep(2)
    finally:
        camunda("thaw", "s3")
    run = paused["run_id"]
    ended = until(120, lambda: [e for e in daemon.events("run.succeeded", "run.failed") if e["run_id"] == run], 0.1)
    must(ended, f"run {run} has not ended")
    must(ended[0]["event"] == "run.failed", f"run {run} is called completed although its pause was broken")
    must("pause was broken" in ended[0]["reason"], f"the reason does not name the broken pause: {ended[0]['reason']}")
    shown = daemon.ask("show", run)
    must(shown["state"] == "failed" and shown["class"] == "pause_broken", f"the record says {shown['state']}, {shown.get('class')}")
    say(f"somebody else's resume inside the pause: {ended[0]['reason']}")


def a_backup_after_all_that(daemon):
    """The next completed run: its id, when it began, when Zeebe was asked."""
    good = daemon.next("run.succeeded", len(daemon.events("run.succeeded")), 90)
    mine = [e for e in daemon.events() if e.get("run_id") == good["run_id"]]
    started = next(e for e in mine if e["event"] == "run.started")
    zeebe = next(e for e in mine if e["event"] == "step.finished" and e.get("step") == "zeebe.start")
    requested = instant(zeebe["timestamp"]) - zeebe["duration_ms"] / 1000
    return good["backup_id"], instant(started["timestamp"]), requested


def lose_and_restore(number):
    say(f"everything is lost; restoring backup {number}")
    camunda("wipe")
    camunda("restore", str(number))


def check(ledger, started, requested, results, *more):
    words = [sys.executable, HERE / "check.py", ledger, "--zeebe-requested", str(requested), "--run-started", str(started)]
    return subprocess.run([*words, "--json", results, *more], check=False).returncode


def negative_control(directory, number):
    """The same parts with Zeebe before the records, and instances started in between: the checks must be red."""
    ledger = directory / "wrong-order.ledger"
    load = Load(ledger)
    time.sleep(8)
    between = f"{sys.executable} {HERE}/load.py {directory}/between.ledger --create-only --instances 60 --rate 120"
    report = directory / "wrong-order.json"
    words = [sys.executable, HERE / "by_hand", str(number), "--poll", "0.2", "--zeebe-first", "--between", between, "--out", report]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    started = sum(json.loads(line)["op"] == "create" for line in (directory / "between.ledger").read_text().splitlines())
    must(started >= 50, f"only {started} instances were started between Zeebe and the records")
    load.stop()
    taken = json.loads(report.read_text())
    lose_and_restore(number)
    results = directory / "wrong-order-check.json"
    code = check(ledger, taken["started_at"], taken["zeebe_requested_at"], results, "--as-restored")
    must(code == 1, "the checks are green for a backup with Zeebe before the records: they show nothing")
    failed = [r["check"] for r in json.loads(results.read_text()) if not r["ok"]]
    must(any("known to the broker" in name for name in failed), f"red for another reason: {failed}")
    say(f"negative control, Zeebe before the records and {started} instances in between: red, {len(failed)} checks failed")


def line_of(latencies):
    if not latencies:
        return "none"
    at = lambda q: latencies[min(len(latencies) - 1, int(len(latencies) * q))]
    return f"{len(latencies)} commands, p50 {at(0.5):.0f} ms, p99 {at(0.99):.0f} ms, max {latencies[-1]:.0f} ms"


def figures(daemon, load, plain, own, resumed):
    runs = [(instant(a["timestamp"]), instant(b["timestamp"])) for a in daemon.events("run.started")
            for b in daemon.events("run.succeeded", "run.failed") if a["run_id"] == b["run_id"]]
    pauses = [(instant(a["timestamp"]), instant(b["timestamp"])) for a in daemon.events("exporting.paused")
              for b in daemon.events("exporting.resumed") if a["run_id"] == b["run_id"]]
    print("\nFigures (one run on this machine; the machine is shared)")
    print(f"client commands, baseline before the first backup: {line_of(load.latencies([(load.began + 2, load.began + 10)]))}")
    print(f"client commands, while a backup is taken:          {line_of(load.latencies(runs))}")
    print(f"client commands, while exporting is paused:        {line_of(load.latencies(pauses))}")
    completed = {e["run_id"]: e["backup_id"] for e in daemon.events("run.succeeded")}
    windows = {completed[e["run_id"]]: e["duration_ms"] / 1000 for e in daemon.events("exporting.resumed") if e["run_id"] in completed}
    for number, window in list(windows.items())[:RUNS]:
        times = own.get(number)
        if times:
            inside = times["records"] + times["zeebe"]
            print(f"backup {number}: exporting paused {window:.2f} s; records and Zeebe themselves {inside:.2f} s "
                  f"(operate {times['operate']:.2f}, tasklist {times['tasklist']:.2f})")
    print(f"pause window, median of {len(windows)} runs of the daemon: {statistics.median(windows.values()):.2f} s")
    print(f"pause window of a plain script that looks every 5 s: {', '.join(f'{p:.2f} s' for p in plain)}")
    print(f"SIGKILL inside the pause: exporting again {resumed:.2f} s after the restart")


def story(directory):
    broker = Http(address("BROKER_MANAGEMENT"))
    load = Load(directory / "ledger")
    say("load is on; ten seconds of baseline")
    time.sleep(11)
    plain = []
    for _ in range(2):
        answer = subprocess.run([sys.executable, HERE / "by_hand", str(int(time.time())), "--poll", "5"],
                                check=True, capture_output=True, text=True)
        plain.append(json.loads(answer.stdout)["pause_seconds"])
    daemon = Daemon(directory)
    try:
        own = scheduled_runs(daemon)
        resumed = killed_inside_the_pause(daemon, broker)
        broken_by_somebody_else(daemon, broker)
        number, started, requested = a_backup_after_all_that(daemon)
        time.sleep(6)
        must(daemon.stop() == 0, "the daemon did not stop cleanly")
    finally:
        if daemon.process.poll() is None:
            daemon.kill()
    must(phases(broker) == {"EXPORTING"}, f"exporting is left {phases(broker)} at the end")
    counts = load.stop()
    say(f"load is off: {counts}, no command failed")
    lose_and_restore(number)
    must(check(directory / "ledger", started, requested, directory / "check.json") == 0, "the restored cluster is not whole")
    figures(daemon, load, plain, own, resumed)
    negative_control(directory, max(int(time.time()), number + 1))


def main():
    try:
        story(Path(sys.argv[1]))
    except (NotSo, OSError, subprocess.CalledProcessError) as error:
        print(f"REAL LANE FAILED: {error}", flush=True)
        return 1
    print("\nREAL LANE PASSED")
    return 0


if __name__ == "__main__":
    sys.exit(main())
