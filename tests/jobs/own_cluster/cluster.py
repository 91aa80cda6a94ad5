"""The addresses of the cluster (from `camunda env`) and a plain JSON-over-HTTP client for the other scripts.

Knows nothing of the daemon, of backups or of checks.
"""

import http.client
import json
import os
import time
from datetime import datetime, timezone
from urllib.parse import urlsplit


def address(name):
    """One endpoint of `camunda env`, which the caller has put into the environment."""
    try:
        return os.environ[name]
    except KeyError:
        raise SystemExit(f"{name} is not set: run `eval \"$(tests/real/camunda env | sed 's/^/export /')\"` first")


class Http:
    """One kept-alive connection; not for two threads at once."""

    def __init__(self, base, timeout=60):
        self.url = urlsplit(base)
        self.timeout = timeout
        self.connection = None

    def call(self, method, path, body=None):
        """Status and parsed body (text where it is not JSON). A broken connection raises OSError."""
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.url.hostname, self.url.port, timeout=self.timeout)
        data = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            self.connection.request(method, path, data, headers)
            answer = self.connection.getresponse()
            text = answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            self.connection = None
            raise OSError(f"{method} {path}: {error!r}") from error
        try:
            return answer.status, json.loads(text) if text else None
        except ValueError:
            return answer.status, text


def partitions(broker):
    """`/actuator/partitions` of the broker, by partition number as text."""
    status, body = broker.call("GET", "/actuator/partitions")
    if status != 200 or not isinstance(body, dict):
        raise OSError(f"/actuator/partitions answered {status}: {body}")
    return body


def documents(search, indices, query, fields):
    """Every document of `indices` that matches, as (index, {field: value}); values come from doc values."""
    page, answer = 10000, None
    status, answer = search.call(
        "POST",
        f"/{indices}/_search?scroll=2m&ignore_unavailable=true&size={page}",
        {"query": query, "_source": False, "docvalue_fields": fields, "sort": ["_doc"]},
    )
    while True:
        if status != 200:
            raise OSError(f"search of {indices} answered {status}: {answer}")
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
    """The first true answer of `probe`, or None when `deadline` seconds have passed."""
    end = time.monotonic() + deadline
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > end:
            return None
        time.sleep(pause)
