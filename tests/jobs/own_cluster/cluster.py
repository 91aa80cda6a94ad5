"""Configuration, a plain JSON-over-HTTP client, and the reads of the cluster that the other scripts share.

Independent of the daemon, of backups and of checks.
"""

import base64
import http.client
import json
import os
import subprocess
import time
import tomllib
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlsplit

TABLES = {
    "addresses": {"zeebe", "operate", "tasklist", "rest", "search"},
    "snapshots": {"repository", "records"},
    "commands": {"stop", "lose", "restore", "start"},
    "logins": {"zeebe", "operate", "tasklist", "rest", "search"},
    "load": {"rate", "seconds", "between"},
    "daemon": {"config", "backups", "keep", "every"},
    "limits": {"command", "backup", "caught_up", "finished"},
}
REQUIRED = ("addresses", "snapshots", "commands")
DEFAULTS = {
    "logins": {},
    "load": {"rate": 6, "seconds": 10, "between": 60},
    "daemon": {"config": "", "backups": 5, "keep": 2, "every": "*/15 * * * * *"},
    "limits": {"command": 900, "backup": 600, "caught_up": 180, "finished": 180},
}


class Config:
    """The TOML file: addresses, commands, figures. Wrong or missing keys end the program with all of them."""

    def __init__(self, path):
        self.path = Path(path).resolve()
        try:
            tables = tomllib.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise SystemExit(f"{path}: cannot be read: {error}") from error
        wrong = [f"[{table}]: unknown table" for table in tables.keys() - TABLES.keys()]
        for table, keys in TABLES.items():
            wrong += [f"[{table}] {key}: unknown key" for key in tables.get(table, {}).keys() - keys]
            if table in REQUIRED:
                wrong += [f"[{table}] {key}: missing" for key in keys - tables.get(table, {}).keys()]
        if wrong:
            raise SystemExit("\n".join(f"{path}: {line}" for line in sorted(wrong)))
        for table in TABLES:
            setattr(self, table, {**DEFAULTS.get(table, {}), **tables.get(table, {})})

    def http(self, name, timeout=60):
        """A connection to one address, with its login."""
        login = self.logins.get(name)
        headers = {"Authorization": authorization(login)} if login else {}
        return Http(self.addresses[name], timeout, headers)

    def command(self, name, **variables):
        """Runs one of the user's commands; the variables are in its environment. Nothing happens where it is empty."""
        text = self.commands[name]
        if not text:
            return
        print(f"-- {name}: {text}", flush=True)
        environment = {**os.environ, **{key: str(value) for key, value in variables.items()}}
        try:
            done = subprocess.run(
                ["sh", "-ec", text], env=environment, cwd=self.path.parent, check=False, timeout=self.limits["command"]
            )
        except subprocess.TimeoutExpired as error:
            raise OSError(f"the command `{name}` did not end within {self.limits['command']} s") from error
        if done.returncode:
            raise OSError(f"the command `{name}` ended with exit code {done.returncode}")


def authorization(login):
    """The header of a login: "basic:USER:PASSWORD_VARIABLE" or "bearer:TOKEN_VARIABLE"; secrets are in the environment."""
    kind, _, rest = login.partition(":")
    user, _, variable = rest.rpartition(":")
    if variable not in os.environ:
        raise SystemExit(f"the login `{login}` names the environment variable {variable}, which is not set")
    secret = os.environ[variable]
    if kind == "basic" and user:
        return "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()
    if kind == "bearer":
        return f"Bearer {secret}"
    raise SystemExit(f"the login `{login}` is neither basic:USER:VARIABLE nor bearer:VARIABLE")


class Http:
    """One kept-alive connection; not for two threads at once."""

    def __init__(self, base, timeout=60, headers=None):
        self.url = urlsplit(base.rstrip("/"))
        self.timeout = timeout
        self.headers = headers or {}
        self.connection = None

    def call(self, method, path, body=None, content_type="application/json"):
        """Status and parsed body (text where it is not JSON). A broken connection raises OSError."""
        if self.connection is None:
            secure = self.url.scheme == "https"
            kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
            self.connection = kind(self.url.hostname, self.url.port, timeout=self.timeout)
        headers = dict(self.headers)
        data = body
        if body is not None:
            headers["Content-Type"] = content_type
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            self.connection.request(method, self.url.path + path, data, headers)
            response = self.connection.getresponse()
            text = response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            self.connection = None
            raise OSError(f"{method} {path}: {error!r}") from error
        try:
            return response.status, json.loads(text) if text else None
        except ValueError:
            return response.status, text


def deploy(config):
    """Deploys the process of this folder over REST."""
    boundary = "camunda-backupd-own-cluster"
    bpmn = (Path(__file__).resolve().parent / "order.bpmn").read_bytes()
    head = (
        f"--{boundary}\r\nContent-Disposition: form-data; name=\"resources\"; filename=\"order.bpmn\"\r\n"
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = head.encode() + bpmn + f"\r\n--{boundary}--\r\n".encode()
    kind = f"multipart/form-data; boundary={boundary}"
    status, answer = config.http("rest").call("POST", "/v2/deployments", body, kind)
    if status != 200:
        raise OSError(f"the process cannot be deployed: {status} {answer}")


def partitions(zeebe):
    """`/actuator/partitions` of the broker, by partition number as text."""
    status, body = zeebe.call("GET", "/actuator/partitions")
    if status != 200 or not isinstance(body, dict):
        raise OSError(f"/actuator/partitions responded with {status}: {body}")
    return body


def phases(zeebe):
    """The exporter phases of all partitions."""
    return {partition["exporterPhase"] for partition in partitions(zeebe).values()}


def documents(search, indices, query, fields):
    """Every document of `indices` that matches, as (index, {field: value}); values come from doc values."""
    page = 10000
    status, answer = search.call(
        "POST",
        f"/{indices}/_search?scroll=2m&ignore_unavailable=true&size={page}",
        {"query": query, "_source": False, "docvalue_fields": fields, "sort": ["_doc"]},
    )
    while True:
        if status != 200:
            raise OSError(f"search of {indices} responded with {status}: {answer}")
        hits = answer["hits"]["hits"]
        for hit in hits:
            yield hit["_index"], {name: values[0] for name, values in hit.get("fields", {}).items()}
        scroll = answer["_scroll_id"]
        if len(hits) < page:
            search.call("DELETE", "/_search/scroll", {"scroll_id": scroll})
            return
        status, answer = search.call("POST", "/_search/scroll", {"scroll": "2m", "scroll_id": scroll})


def instant(value):
    """Seconds since the epoch of an RFC 3339 instant in UTC, with any number of digits after the point."""
    whole, _, digits = value.rstrip("Z").removesuffix("+00:00").partition(".")
    return datetime.fromisoformat(whole).replace(tzinfo=timezone.utc).timestamp() + float(f"0.{digits or 0}")


def until(deadline, probe, pause=0.2):
    """The first true result of `probe`, or None when `deadline` seconds have passed."""
    end = time.monotonic() + deadline
    while True:
        result = probe()
        if result:
            return result
        if time.monotonic() > end:
            return None
        time.sleep(pause)
