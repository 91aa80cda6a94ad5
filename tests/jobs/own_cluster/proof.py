#!/usr/bin/env python3
"""The proof of the daemon against a cluster of your own, under load: backups, retention, kill, loss, restore, checks.

usage: proof.py CONFIG DIR [backups] [negative-control]     (CAMUNDA_BACKUPD names the binary; DIR is empty)

backups           Client commands go on without a failure while backups are taken. Retention deletes everywhere. A
                  daemon killed inside the pause leaves the resume to its successor. A resume by someone else inside
                  the pause fails the run. A backup taken after all that restores the lost cluster whole.
negative-control  The same checks reject a backup with Zeebe before the records and instances started in between.

Without a name both run. Exits with 1 and a sentence at the first failure. Prints figures at the end.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from cluster import Config, deploy, instant, phases, until

HERE = Path(__file__).resolve().parent
BINARY = os.environ.get("CAMUNDA_BACKUPD", "camunda-backupd")
CLUSTER = "own"


class Failure(Exception):
    """The proof has failed; the text has the reason."""


def announce(text):
    print(f"-- {text}", flush=True)


def must(truth, text):
    if not truth:
        raise Failure(text)


# ---- the daemon -----------------------------------------------------------------------------------


class Daemon:
    """The daemon as a process, with a state directory of its own; its log has one JSON object a line."""

    def __init__(self, config, directory):
        self.config = directory / "config.toml"
        self.log = directory / "daemon.log"
        self.process = None
        at, snapshots, settings = config.addresses, config.snapshots, config.daemon
        self.config.write_text(
            f"""[daemon]
state_dir = "{directory}/state"
runtime_dir = "{directory}/run"
instance = "own-cluster-proof"

[http]
listen = "127.0.0.1:0"

[log]
format = "json"

[clusters.{CLUSTER}.self_managed]
zeebe    = "{at['zeebe']}"
operate  = "{at['operate']}"
tasklist = "{at['tasklist']}"
rest     = "{at['rest']}"
search   = {{ url = "{at['search']}", repository = "{snapshots['repository']}", records = "{snapshots['records']}" }}

[schedules.often]
clusters = ["{CLUSTER}"]
cron = "{settings['every']}"
keep = {{ successful = {settings['keep']}, failed = {settings['keep']} }}

{settings['config']}
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
        return self.process.wait(180)

    def events(self, *names):
        found = []
        for line in self.log.read_text(encoding="utf-8").splitlines():
            try:
                event = json.loads(line)
            except ValueError as error:
                raise Failure(f"the daemon's log holds a line that is not JSON: {line[:200]}") from error
            if not names or event.get("event") in names:
                found.append(event)
        return found

    def next(self, name, seen, limit, where=lambda event: True):
        """The first event of that name after the `seen` ones that were there before."""

        def find():
            must(self.process.poll() is None, f"the daemon ended with {self.process.returncode}: see {self.log}")
            new = [event for event in self.events(name)[seen:] if where(event)]
            return new[0] if new else None

        event = until(limit, find, 0.02)
        must(event, f"no {name} within {limit} s: see {self.log}")
        return event

    def ended(self, run, limit):
        """The event that ended a run."""
        names = ("run.succeeded", "run.failed")
        found = until(limit, lambda: [e for e in self.events(*names) if e["run_id"] == run], 0.1)
        must(found, f"run {run} has not ended within {limit} s")
        return found[0]

    def run(self, *words):
        done = subprocess.run([BINARY, "--config", self.config, "--json", *words], capture_output=True, text=True, check=False)
        must(done.returncode == 0, f"`{' '.join(words)}` ended with {done.returncode}: {done.stderr}")
        return json.loads(done.stdout)


class Load:
    """The load clients, in a process of their own."""

    def __init__(self, config, ledger):
        self.ledger = ledger
        self.process = subprocess.Popen([sys.executable, HERE / "load.py", config.path, ledger], stdout=subprocess.PIPE, text=True)
        self.began = time.time()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=60)
        counts = json.loads(out.strip().splitlines()[-1])
        must(self.process.returncode == 0, f"client commands failed while backups were taken: {counts}; see {self.ledger}")
        must(counts.get("create") and counts.get("complete"), f"the load clients did nothing: {counts}")
        return counts

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def latencies(self, windows):
        """Milliseconds of every command sent inside one of the windows."""
        taken = []
        for line in self.ledger.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            if entry["op"] in ("create", "complete") and any(a <= entry["sent"] <= b for a, b in windows):
                taken.append((entry["acked"] - entry["sent"]) * 1000)
        return sorted(taken)


# ---- the cluster ----------------------------------------------------------------------------------


def holders(config, number):
    """The components that hold something of a backup; four when it is whole."""
    held = []
    for name in ("zeebe", "operate", "tasklist"):
        status, _ = config.http(name).call("GET", f"/actuator/backups/{number}")
        if status != 404:
            held.append(f"{name} ({status})")
    path = f"/_snapshot/{config.snapshots['repository']}/camunda_*_{number}*"
    status, answer = config.http("search").call("GET", path)
    if status == 200 and answer["snapshots"]:
        held.append(f"{len(answer['snapshots'])} snapshots")
    return held


def lose_and_restore(config, number):
    announce(f"the cluster loses everything, then backup {number} is restored")
    began = time.monotonic()
    for name in ("stop", "lose", "restore", "start"):
        config.command(name, BACKUP_ID=number)

    def up():
        try:
            web_apps = [config.http(name).call("GET", "/actuator/backups")[0] for name in ("operate", "tasklist")]
            return web_apps == [200, 200] and phases(config.http("zeebe")) == {"EXPORTING"}
        except OSError:
            return False

    limit = config.limits["command"]
    must(until(limit, up, 1), f"the restored cluster does not respond within {limit} s, or does not export")
    announce(f"restored and up again after {time.monotonic() - began:.0f} s")


def check(config, ledger, started, requested, results, *more):
    """The exit code of check.py."""
    words = [sys.executable, HERE / "check.py", config.path, ledger, "--zeebe-requested", str(requested), "--run-started", str(started)]
    return subprocess.run([*words, "--json", results, *more], check=False).returncode


# ---- the steps of the proof -----------------------------------------------------------------------


def scheduled_runs(config, daemon):
    """Scheduled backups until retention has deleted one."""
    daemon.start()
    wanted, end = config.daemon["backups"], time.monotonic() + config.limits["backup"] * config.daemon["backups"]
    while True:
        succeeded = daemon.events("run.succeeded")
        if len(succeeded) >= wanted and daemon.events("backup.deleted"):
            break
        must(time.monotonic() < end, f"only {len(succeeded)} of {wanted} backups are completed, or none is deleted: see {daemon.log}")
        must(daemon.process.poll() is None, f"the daemon ended with {daemon.process.returncode}: see {daemon.log}")
        time.sleep(0.3)
    must(not daemon.events("run.failed"), f"a run failed: {daemon.events('run.failed')}")
    for event in daemon.events("backup.deleted"):
        held = holders(config, event["backup_id"])
        must(not held, f"backup {event['backup_id']} is reported deleted, but is held by {', '.join(held)}")
    newest = succeeded[-1]["backup_id"]
    must(len(holders(config, newest)) == 4, f"the newest completed backup {newest} is not in every component")
    announce(f"{len(succeeded)} backups completed, {len(daemon.events('backup.deleted'))} deleted by retention and gone everywhere")


def killed_inside_the_pause(config, daemon, zeebe):
    """SIGKILL inside the pause; seconds from the successor's start until exporting runs."""
    limit = config.limits["backup"]
    for _ in range(5):
        paused = daemon.next("exporting.paused", len(daemon.events("exporting.paused")), limit)
        daemon.kill()
        if phases(zeebe) == {"SOFT_PAUSED"}:
            break
        daemon.start()
    else:
        raise Failure("the daemon could not be killed inside a pause")
    time.sleep(1)
    must(phases(zeebe) == {"SOFT_PAUSED"}, "exporting was resumed although no daemon ran")
    run = paused["run_id"]
    began = time.time()
    daemon.start()
    must(until(30, lambda: phases(zeebe) == {"EXPORTING"}, 0.02), "exporting is still paused 30 s after the restart")
    took = time.time() - began
    recovered = daemon.next("run.recovered", 0, 10, lambda e: e["run_id"] == run)
    ended = daemon.ended(run, limit)
    must(until(10, lambda: daemon.run("pending-resumes") == [], 0.5), "a resume is still pending after the restart")
    announce(f"killed inside the pause: the run {recovered['outcome']}, {ended['event']}; exporting again {took:.2f} s after the restart")
    return took


def resumed_by_someone_else(config, daemon, zeebe):
    """A foreign resume inside the pause fails the run, with its reason."""
    limit = config.limits["backup"]
    for _ in range(10):
        paused = daemon.next("exporting.paused", len(daemon.events("exporting.paused")), limit)
        status, answer = zeebe.call("POST", "/actuator/exporting/resume")
        acknowledged = time.time()
        must(status in (200, 204), f"the resume was rejected: {status} {answer}")
        run = paused["run_id"]
        ended = daemon.ended(run, limit)
        if ended["event"] == "run.failed":
            break
        resumed = [e for e in daemon.events("exporting.resumed") if e["run_id"] == run]
        requested = instant(resumed[0]["timestamp"]) - 0.1
        must(acknowledged > requested, f"run {run} is reported completed although its pause was broken")
    else:
        raise Failure("no pause was long enough to be broken")
    must("pause was broken" in ended["reason"], f"the reason does not name the broken pause: {ended['reason']}")
    shown = daemon.run("show", run)
    must(shown["state"] == "failed" and shown["class"] == "pause_broken", f"the record has {shown['state']}, {shown.get('class')}")
    announce(f"resumed by someone else inside the pause: {ended['reason']}")


def one_more_backup(config, daemon):
    """The next completed run: its backup id, its start, the time of the Zeebe request."""
    good = daemon.next("run.succeeded", len(daemon.events("run.succeeded")), config.limits["backup"])
    mine = [e for e in daemon.events() if e.get("run_id") == good["run_id"]]
    started = next(e for e in mine if e["event"] == "run.started")
    zeebe = next(e for e in mine if e["event"] == "step.finished" and e.get("step") == "zeebe.start")
    requested = instant(zeebe["timestamp"]) - zeebe["duration_ms"] / 1000
    return good["backup_id"], instant(started["timestamp"]), requested


def line_of(latencies):
    if not latencies:
        return "none"
    at = lambda q: latencies[min(len(latencies) - 1, int(len(latencies) * q))]
    return f"{len(latencies)} commands, p50 {at(0.5):.0f} ms, p99 {at(0.99):.0f} ms, max {latencies[-1]:.0f} ms"


def figures(config, daemon, load, script, resumed):
    def windows(first, *last):
        ends = daemon.events(*last)
        return [(instant(a["timestamp"]), instant(b["timestamp"])) for a in daemon.events(first) for b in ends if a["run_id"] == b["run_id"]]

    before = config.load["seconds"]
    completed = {e["run_id"] for e in daemon.events("run.succeeded")}
    pauses = [e["duration_ms"] / 1000 for e in daemon.events("exporting.resumed") if e["run_id"] in completed]
    print("\nFigures of one run")
    print(f"client commands before the first backup:     {line_of(load.latencies([(load.began + 2, load.began + before)]))}")
    print(f"client commands while a backup is taken:     {line_of(load.latencies(windows('run.started', 'run.succeeded', 'run.failed')))}")
    print(f"client commands while exporting is paused:   {line_of(load.latencies(windows('exporting.paused', 'exporting.resumed')))}")
    print(f"pause, {len(pauses)} runs of the daemon:                 median {statistics.median(pauses):.2f} s, longest {max(pauses):.2f} s")
    print(f"pause of a script that polls every 5 s:      {script:.2f} s")
    print(f"SIGKILL inside the pause: exporting again    {resumed:.2f} s after the restart")


def backups(config, directory):
    zeebe = config.http("zeebe")
    load = Load(config, directory / "ledger")
    daemon = None
    try:
        announce(f"load is on; {config.load['seconds']} s without a backup")
        time.sleep(config.load["seconds"] + 1)
        words = [sys.executable, HERE / "manual_backup.py", config.path, str(int(time.time())), "--poll", "5"]
        script = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)["pause_seconds"]
        daemon = Daemon(config, directory)
        scheduled_runs(config, daemon)
        resumed = killed_inside_the_pause(config, daemon, zeebe)
        resumed_by_someone_else(config, daemon, zeebe)
        number, started, requested = one_more_backup(config, daemon)
        time.sleep(6)
        must(daemon.stop() == 0, "the daemon did not stop cleanly")
        must(phases(zeebe) == {"EXPORTING"}, f"exporting reads {phases(zeebe)} at the end")
        counts = load.stop()
    finally:
        load.end()
        if daemon and daemon.process and daemon.process.poll() is None:
            daemon.kill()
    announce(f"load is off: {counts}, no command failed")
    lose_and_restore(config, number)
    code = check(config, directory / "ledger", started, requested, directory / "check.json")
    must(code == 0, "the restored cluster is not whole")
    figures(config, daemon, load, script, resumed)


def negative_control(config, directory):
    """The parts in the wrong order, and instances started in between: the checks must reject the restored cluster."""
    wanted = config.load["between"]
    ledger, report, results = (directory / f"wrong-order.{kind}" for kind in ("ledger", "json", "check.json"))
    load = Load(config, ledger)
    try:
        time.sleep(config.load["seconds"])
        between = f"'{sys.executable}' '{HERE}/load.py' '{config.path}' '{directory}/between.ledger' --create-only --instances {wanted} --rate 120"
        number = int(time.time())
        words = [sys.executable, HERE / "manual_backup.py", config.path, str(number), "--poll", "0.2", "--zeebe-first"]
        subprocess.run([*words, "--between", between, "--out", report], check=True, stdout=subprocess.DEVNULL)
        started = sum(json.loads(line)["op"] == "create" for line in (directory / "between.ledger").read_text().splitlines())
        must(started == wanted, f"only {started} of {wanted} instances were started between Zeebe and the records")
        load.stop()
    finally:
        load.end()
    taken = json.loads(report.read_text())
    lose_and_restore(config, number)
    code = check(config, ledger, taken["started_at"], taken["zeebe_requested_at"], results, "--as-restored")
    must(code == 1, "the checks accept a backup with Zeebe before the records: they prove nothing")
    failed = [r["check"] for r in json.loads(results.read_text()) if not r["ok"]]
    must(any("known to the broker" in name for name in failed), f"rejected for another reason: {failed}")
    announce(f"negative control, Zeebe before the records and {started} instances in between: rejected, {len(failed)} checks failed")


PARTS = {"backups": backups, "negative-control": negative_control}


def main():
    config, directory = Config(sys.argv[1]), Path(sys.argv[2]).resolve()
    try:
        deploy(config)
        for name in sys.argv[3:] or PARTS:
            PARTS[name](config, directory)
    except (Failure, OSError, subprocess.SubprocessError) as error:
        print(f"OWN CLUSTER PROOF FAILED: {error}", flush=True)
        return 1
    print("\nOWN CLUSTER PROOF PASSED")
    return 0


if __name__ == "__main__":
    sys.exit(main())
