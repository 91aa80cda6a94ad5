#!/usr/bin/env python3
"""One backup without the daemon, as a plain script takes it; on request in the wrong order or without the pause.

usage: manual_backup.py CONFIG ID [--poll 5] [--zeebe-first] [--no-pause] [--between COMMAND] [--out FILE]

--zeebe-first takes Zeebe before the records. --between runs COMMAND between the two. --no-pause leaves the pause out.
Prints, and writes to FILE, one JSON object with the time of every step. Exporting is resumed however it ends.
"""

import argparse
import json
import subprocess
import sys
import time

from cluster import Config, instant, phases, until


class Failed(Exception):
    """The backup cannot be whole; the text has the reason."""


class Backup:
    def __init__(self, config, number, poll):
        self.config = config
        self.number = number
        self.poll = poll
        self.zeebe = config.http("zeebe")
        self.apps = {name: config.http(name) for name in ("operate", "tasklist")}
        self.search = config.http("search", timeout=300)
        self.steps = []
        self.own_seconds = {}
        self.began = time.time()

    def step(self, name):
        """Begins a step; the caller calls the result when the step has ended."""
        entry = {"step": name, "requested_at": time.time()}
        self.steps.append(entry)

        def ended():
            entry["finished_at"] = time.time()

        return ended

    def start(self, name, http):
        ended = self.step(f"{name}.start")
        status, answer = http.call("POST", "/actuator/backups", {"backupId": self.number})
        if status not in (200, 202):
            raise Failed(f"{name} did not start: {status} {answer}")
        ended()

    def wait(self, name, http):
        ended = self.step(f"{name}.wait")

        def complete():
            status, answer = http.call("GET", f"/actuator/backups/{self.number}")
            state = answer.get("state") if status == 200 else None
            if state in ("FAILED", "INCOMPATIBLE"):
                raise Failed(f"{name} reports {answer}")
            return answer if state == "COMPLETED" else None

        limit = self.config.limits["backup"]
        answer = until(limit, complete, self.poll)
        if not answer:
            raise Failed(f"{name} did not complete within {limit} s")
        ended()
        if name == "zeebe":
            times = [(instant(p["createdAt"]), instant(p["lastUpdatedAt"])) for p in answer["details"]]
            self.own_seconds[name] = max(t for _, t in times) - min(t for t, _ in times)

    def take_records(self):
        ended = self.step("records")
        name = f"camunda_zeebe_records_backup_{self.number}"
        status, answer = self.search.call(
            "PUT",
            f"/_snapshot/{self.config.snapshots['repository']}/{name}?wait_for_completion=true",
            {"indices": self.config.snapshots["records"], "feature_states": ["none"]},
        )
        snapshot = answer.get("snapshot", {}) if status == 200 else {}
        if snapshot.get("state") != "SUCCESS" or not snapshot.get("indices"):
            raise Failed(f"the records snapshot is not whole: {status} {answer}")
        self.own_seconds["records"] = snapshot["duration_in_millis"] / 1000
        ended()

    def take_zeebe(self):
        self.start("zeebe", self.zeebe)
        self.wait("zeebe", self.zeebe)

    def exporting(self, verb):
        status, answer = self.zeebe.call("POST", f"/actuator/exporting/{verb}")
        if status != 204 and not (isinstance(answer, dict) and answer.get("status") == 204):
            raise Failed(f"exporting/{verb} was not confirmed: {status} {answer}")

    def take(self, zeebe_first, no_pause, between):
        for name, http in self.apps.items():
            self.start(name, http)
        for name, http in self.apps.items():
            self.wait(name, http)
        ended = self.step("pause")
        try:
            if not no_pause:
                self.exporting("pause?soft=true")
                found = phases(self.zeebe)
                if found != {"SOFT_PAUSED"}:
                    raise Failed(f"exporting is not paused: {found}")
            ended()
            parts = [self.take_zeebe, self.take_records] if zeebe_first else [self.take_records, self.take_zeebe]
            parts[0]()
            if between:
                subprocess.run(between, shell=True, check=True)
            parts[1]()
        finally:
            ended = self.step("resume")
            if not no_pause:
                self.exporting("resume")
            ended()

    def report(self):
        at = {entry["step"]: entry for entry in self.steps}
        return {
            "backup_id": self.number,
            "started_at": self.began,
            "finished_at": time.time(),
            "zeebe_requested_at": at["zeebe.start"]["requested_at"],
            "pause_seconds": at["resume"]["finished_at"] - at["pause"]["requested_at"],
            "steps": self.steps,
            "own_seconds": self.own_seconds,
        }


def main():
    arguments = argparse.ArgumentParser(description="one backup without the daemon")
    arguments.add_argument("config", metavar="CONFIG")
    arguments.add_argument("number", metavar="ID", type=int)
    arguments.add_argument("--poll", type=float, default=5, help="seconds between two polls")
    arguments.add_argument("--zeebe-first", action="store_true", help="the wrong order: Zeebe before the records")
    arguments.add_argument("--no-pause", action="store_true", help="exporting is not paused")
    arguments.add_argument("--between", metavar="COMMAND", help="run between records and Zeebe")
    arguments.add_argument("--out", help="file for the report, beside stdout")
    options = arguments.parse_args()
    backup = Backup(Config(options.config), options.number, options.poll)
    try:
        backup.take(options.zeebe_first, options.no_pause, options.between)
    except (Failed, OSError, subprocess.CalledProcessError) as error:
        print(f"manual_backup: backup {options.number} failed: {error}", file=sys.stderr)
        return 1
    text = json.dumps(backup.report())
    print(text)
    if options.out:
        with open(options.out, "w", encoding="utf-8") as file:
            file.write(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
