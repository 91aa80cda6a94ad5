#!/usr/bin/env python3
"""A state disk that is really full, or turned read-only, while the real binary takes backups: before a pause, inside one,
and when the daemon starts. Nothing stays paused, no run begins that cannot be stored, health reports the fault, and
the daemon goes on by itself when there is space again. Usage: full.py BINARY DIRECTORY (as loss.py)
"""

import json
import os
import subprocess
import sys
import time

import loss
from loss import DISK, STATE, Rig, Wrong, wait_up


def health(rig):
    done = subprocess.run([loss.BINARY, "--config", rig.config, "--json", "status"], capture_output=True, text=True, check=False)
    checks = json.loads(done.stdout)["checks"] if done.returncode in (0, 1) else []
    return done.returncode, next((c for c in checks if c["name"] == "store"), {})


def until(name, holds, limit=60):
    began = time.monotonic()
    while not (got := holds()):
        if time.monotonic() - began > limit:
            raise Wrong(f"not within {limit} s: {name}")
        time.sleep(0.01)
    return got


def fill():
    filler = os.open(DISK / "filler", os.O_WRONLY | os.O_CREAT)
    for size in (1 << 20, 4096, 512):
        try:
            while True:
                os.write(filler, bytes(size))
        except OSError:
            continue
    os.close(filler)


def free():
    (DISK / "filler").unlink()


def read_only():
    # Files are open for writing: only the emergency remount turns it read-only, as the kernel does after an error.
    subprocess.run(["mount", "-o", "remount,abort", DISK], check=False, capture_output=True)


def completed(rig):
    return rig.rows("SELECT count(*) FROM runs WHERE status = 'completed'")[0][0]


def nothing_begins(rig, what):
    """Without disk space no pause is requested, and the daemon stays up and reports the reason."""
    time.sleep(1)
    before = rig.call("/sim/state")["requests"].get("pause", 0)
    time.sleep(7)
    pauses = rig.call("/sim/state")["requests"].get("pause", 0) - before
    if pauses or rig.paused():
        raise Wrong(f"{what}: {pauses} pauses were requested whose pending resume could not be stored")
    if rig.daemon.poll() is not None:
        raise Wrong(f"{what}: the daemon ended with {rig.daemon.returncode}")
    code, store = until("health fails", lambda: (lambda h: h if h[1].get("status") == "failing" else None)(health(rig)))
    print(f"   health, exit {code}: {store['detail']}")


def inside_a_pause(rig, spoil, repair, what):
    until("a pause", rig.paused)
    spoil()
    began = time.monotonic()
    until("exporting runs again", lambda: not rig.paused())
    after = time.monotonic() - began
    nothing_begins(rig, what)
    done = completed(rig)
    repair()
    until("the next backup", lambda: completed(rig) > done, 150)
    until("health is well", lambda: health(rig)[1].get("status") == "ok")
    rig.judge()
    print(f"ok {what} inside a pause: exporting again {after * 1000:.0f} ms after it, the next backup is whole")


def full_at_the_start(rig):
    """Killed inside a pause; when it is started again the disk is full."""
    until("a pause", rig.paused)
    rig.daemon.kill()
    rig.daemon.wait()
    fill()
    began = time.monotonic()
    rig.start()
    until("exporting runs again", lambda: not rig.paused())
    print(f"ok full when it starts: exporting again {(time.monotonic() - began) * 1000:.0f} ms after the start")
    # It retries to store the resume for a while; then systemd starts it again.
    until("it comes up or ends", lambda: rig.daemon.poll() is not None or up(rig), 120)
    code = rig.daemon.poll()
    if code not in (None, 1):
        raise Wrong(f"a daemon that starts on a full disk ended with {code}, and systemd would not start it again")
    free()
    if code == 1:
        print("   it ended with 1, so that systemd starts it again")
        rig.start()
    wait_up(rig)
    done = completed(rig)
    until("the next backup", lambda: completed(rig) > done, 150)
    rig.judge()


def up(rig):
    return health(rig)[0] in (0, 1)


def read_only_disk(rig):
    """After an error the kernel turns the file system read-only; it takes a new mount to write again."""
    until("a pause", rig.paused)
    read_only()
    began = time.monotonic()
    until("exporting runs again", lambda: not rig.paused())
    after = time.monotonic() - began
    nothing_begins(rig, "read-only")
    rig.daemon.kill()
    rig.daemon.wait()
    done = subprocess.run([loss.BINARY, "--config", rig.config, "serve"], capture_output=True, text=True, check=False, timeout=60)
    if done.returncode != 2:
        raise Wrong(f"on a read-only disk it ended with {done.returncode}: {done.stderr}")
    print(f"   refused: {done.stderr.strip().splitlines()[-1]}")
    rig.unmount()
    subprocess.run(["e2fsck", "-fy", loss.IMAGE], capture_output=True, check=False)
    rig.mount()
    rig.start()
    wait_up(rig)
    done = completed(rig)
    until("the next backup", lambda: completed(rig) > done, 150)
    rig.judge()
    print(f"ok read-only inside a pause: exporting again {after * 1000:.0f} ms after it")


def main():
    rig = Rig()
    try:
        rig.start()
        wait_up(rig)
        until("a backup", lambda: completed(rig) > 0)
        inside_a_pause(rig, fill, free, "full")
        full_at_the_start(rig)
        read_only_disk(rig)
    except Wrong as wrong:
        print(f"FAILED: {wrong}")
        print("".join((loss.HERE / "log").read_text(errors="replace").splitlines(keepends=True)[-25:]))
        return 1
    finally:
        rig.end()
    assert STATE.parent == DISK
    return 0


if __name__ == "__main__":
    sys.exit(main())
