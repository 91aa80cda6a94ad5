#!/usr/bin/env python3
"""Power losses of the file system that holds the state file, while the real binary takes backups of a simulated cluster.

The file system is an ext4 of its own in a file. A loss stops the daemon, shuts the file system down without flushing
its journal (unsynced writes are gone, as when the power goes), kills the daemon, and mounts again. After each loss
the daemon is started again: exporting must run again, the state file must be sound, every backup that the daemon had
reported completed must still be completed, ids must have grown, and every backup that is kept must restore whole. Usage: loss.py BINARY DIRECTORY LOSSES
"""

import fcntl
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import statistics
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

BINARY, HERE = sys.argv[1], Path(sys.argv[2])
LOSSES = int(sys.argv[3]) if len(sys.argv) > 3 else 0
SHUTDOWN, WITHOUT_FLUSH = 0x8004587D, 2  # EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH
LIMIT = 40  # seconds until exporting runs again; a run that goes on keeps its pause
NEXT = 120  # seconds until the next run: after a pause whose request had no response the daemon watches for a minute
DISK, STATE, IMAGE = HERE / "disk", HERE / "disk" / "state", HERE / "image"
CHANCE = random.Random(int(os.environ.get("SEED", "1")))


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Wrong(Exception):
    pass


class Rig:
    def __init__(self):
        DISK.mkdir()
        with IMAGE.open("wb") as image:
            image.truncate(96 << 20)
        subprocess.run(["mkfs.ext4", "-q", IMAGE], check=True)
        self.mount()
        port = free_port()
        self.sim = f"http://127.0.0.1:{port}"
        words = ["sim", "--cluster-version", "8.6", "--listen", f"127.0.0.1:{port}", "--speed", "2"]
        self.cluster = subprocess.Popen([BINARY, *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        table = []
        for line in self.cluster.stdout:
            if not line.startswith("#"):
                table.append(line)
            if line.startswith("search"):
                break
        self.config = HERE / "config.toml"
        self.config.write_text(
            f'[daemon]\nstate_dir = "{STATE}"\nruntime_dir = "{HERE}/run"\ninstance = "power"\n'
            '[http]\nlisten = "127.0.0.1:0"\n[log]\nformat = "json"\n' + "".join(table) +
            '[schedules.often]\nclusters = ["orders"]\ncron = "*/2 * * * * *"\nkeep = { successful = 5, failed = 5 }\n')
        self.log = (HERE / "log").open("ab")
        self.daemon = None
        self.completed, self.highest, self.whole = set(), 0, set()

    def mount(self):
        subprocess.run(["mount", "-o", "loop", IMAGE, DISK], check=True)

    def unmount(self):
        for _ in range(100):
            if subprocess.run(["umount", DISK], capture_output=True, check=False).returncode == 0:
                return
            time.sleep(0.05)
        raise Wrong(f"{DISK} cannot be unmounted")

    def start(self):
        self.daemon = subprocess.Popen([BINARY, "--config", self.config, "serve"], stdout=subprocess.DEVNULL, stderr=self.log)

    def call(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.sim + path, data), timeout=10) as response:
            return json.load(response)

    def paused(self):
        return self.call("/sim/state")["paused"]

    def see_completed(self):
        """Remembers the backups that the daemon reports completed at this moment."""
        words = [BINARY, "--config", self.config, "--json", "list", "orders"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            self.completed |= {one["backup_id"] for one in json.loads(done.stdout) if one["state"] == "completed"}

    def rows(self, query):
        connection = sqlite3.connect(f"file:{STATE}/state.db?mode=ro", uri=True, timeout=10)
        try:
            return connection.execute(query).fetchall()
        except sqlite3.Error as error:
            raise Wrong(f"the state file cannot be read: {error}") from error
        finally:
            connection.close()

    def lose_power(self):
        self.daemon.send_signal(signal.SIGSTOP)
        descriptor = os.open(DISK, os.O_RDONLY)
        fcntl.ioctl(descriptor, SHUTDOWN, struct.pack("I", WITHOUT_FLUSH))
        os.close(descriptor)
        self.daemon.kill()
        self.daemon.wait()
        self.unmount()
        shutil.rmtree(HERE / "run", ignore_errors=True)
        self.mount()

    def exporting_again(self):
        began = time.monotonic()
        while self.paused():
            if self.daemon.poll() is not None:
                raise Wrong(f"the daemon ended with {self.daemon.returncode}")
            if time.monotonic() - began > LIMIT:
                raise Wrong(f"exporting is still paused {LIMIT} s after the restart")
            time.sleep(0.02)
        return time.monotonic() - began

    def judge(self):
        if self.rows("PRAGMA integrity_check") != [("ok",)]:
            raise Wrong(f"the state file is damaged: {self.rows('PRAGMA integrity_check')[:3]}")
        status = dict(self.rows("SELECT backup_id, status FROM runs"))
        lost = {id: status.get(id) for id in self.completed if status.get(id) != "completed"}
        if lost:
            raise Wrong(f"these were reported completed before the loss, and are now: {lost}")
        for (id,) in self.rows("SELECT backup_id FROM v_backups WHERE state = 'completed'"):
            if id in self.whole:
                continue
            restored = self.call("/sim/restore", {"backup_id": id})
            still = self.rows(f"SELECT 1 FROM v_backups WHERE state = 'completed' AND backup_id = {id}")
            if not restored["whole"] and still:
                raise Wrong(f"backup {id} is reported completed: {restored['lost']} lost, {restored['duplicates']} doubled")
            self.whole.add(id)

    def ids_have_grown(self):
        """The first run after a loss has an id above every id that the cluster or the daemon ever listed."""
        began, known = time.monotonic(), self.highest
        while True:
            highest = self.rows("SELECT max(backup_id) FROM runs")[0][0] or 0
            if highest > known:
                self.highest = highest
                return
            if time.monotonic() - began > NEXT:
                raise Wrong(f"no run came after backup {known}")
            time.sleep(0.05)

    def see_ids(self):
        listed = [one["backup_id"] for one in self.call("/sim/backups")]
        self.highest = max([self.highest, *listed])

    def end(self):
        for process in (self.daemon, self.cluster):
            if process and process.poll() is None:
                process.kill()
                process.wait()
        subprocess.run(["umount", DISK], capture_output=True, check=False)


def wait_up(rig):
    for _ in range(400):
        if (STATE / "state.db").exists():
            done = subprocess.run([BINARY, "--config", rig.config, "status"], capture_output=True, check=False)
            if done.returncode in (0, 1):
                return
        if rig.daemon.poll() is not None:
            raise Wrong(f"the daemon ended with {rig.daemon.returncode} instead of coming up")
        time.sleep(0.05)
    raise Wrong("the daemon does not come up")


def main():
    rig = Rig()
    after, inside = [], 0
    number = 0
    try:
        rig.start()
        wait_up(rig)
        for number in range(1, LOSSES + 1):
            if number % 3:
                began = time.monotonic()
                while not rig.paused() and time.monotonic() - began < 15:
                    time.sleep(0.002)
                time.sleep(CHANCE.random() * 0.35)
            else:
                time.sleep(CHANCE.random() * 2.5)
            rig.see_ids()
            rig.see_completed()
            inside += rig.paused()
            rig.lose_power()
            rig.start()
            after.append(rig.exporting_again())
            wait_up(rig)
            rig.judge()
            rig.ids_have_grown()
        began = time.monotonic()
        while rig.rows("SELECT 1 FROM pending_resumes WHERE confirmed_at IS NULL AND abandoned IS NULL") or rig.paused():
            if time.monotonic() - began > 90:
                raise Wrong("a resume is still pending at the end")
            time.sleep(0.05)
        rig.judge()
        runs = dict(rig.rows("SELECT status, count(*) FROM runs GROUP BY status"))
    except Wrong as wrong:
        print(f"FAILED after {number} losses: {wrong}")
        print("".join((HERE / "log").read_text(errors="replace").splitlines(keepends=True)[-25:]))
        return 1
    finally:
        rig.end()
    print(f"{LOSSES} power losses, {inside} inside a pause: the state file sound after each, all {len(rig.completed)} backups that were "
          f"reported completed are still, {len(rig.whole)} restored whole, runs {runs}; restart to exporting again: median "
          f"{statistics.median(after) * 1000:.0f} ms, longest {max(after) * 1000:.0f} ms")
    if inside == 0 or not rig.completed:
        print("FAILED: no loss met a pause, or no backup was completed: nothing was proved")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
