"""The published client against a simulated 8.10: pause, take, wait, list, read the state, delete, resume.

The client checks each response against the model it was generated with, so a missing field or an unknown value fails
here. Its requests are compared with the counters of the simulated cluster.
"""

import json
import sys
import time
import urllib.request

from camunda_orchestration_sdk import CamundaClient
from camunda_orchestration_sdk.errors import ConflictError, NotFoundError
from camunda_orchestration_sdk.models import TakeHistoryBackupRequest, TakeRuntimeBackupRequest


def main(base: str) -> None:
    client = CamundaClient({"CAMUNDA_REST_ADDRESS": f"{base}/rest/v2", "CAMUNDA_AUTH_STRATEGY": "NONE"})
    first = 1_700_000_001

    def ids() -> list[int]:
        return [int(backup.backup_id) for backup in client.list_runtime_backups()]

    def wait(get, backup_id: int, wanted: str):
        for _ in range(200):
            try:
                backup = get(backup_id=backup_id)
            except NotFoundError:
                backup = None
            if (backup.state.value if backup else "404") == wanted:
                return backup
            time.sleep(0.05)
        raise AssertionError(f"backup {backup_id} never became {wanted}")

    assert ids() == []
    topology = client.get_topology()
    assert topology.gateway_version == "8.10.0", topology
    client.pause_exporting(soft=True)
    assert state_of(base)["paused"] is True

    taken = client.take_history_backup(data=TakeHistoryBackupRequest(backup_id=first))
    assert len(taken.scheduled_snapshots) == 7, taken
    history = wait(client.get_history_backup, first, "COMPLETED")
    assert all(part.state == "SUCCESS" for part in history.details), history

    for backup_id in (first, first + 1):
        taken = client.take_runtime_backup(data=TakeRuntimeBackupRequest(backup_id=backup_id))
        assert int(taken.backup_id) == backup_id, taken
        backup = wait(client.get_runtime_backup, backup_id, "COMPLETED")
        assert len(backup.details) == 2 and backup.details[0].checkpoint_position > 0, backup
    assert ids() == [first + 1, first], "newest first"
    assert [int(b.backup_id) for b in client.list_runtime_backups(prefix=f"{first}*")] == [first]
    try:
        client.take_runtime_backup(data=TakeRuntimeBackupRequest(backup_id=first))
        raise AssertionError("an id was taken twice")
    except ConflictError:
        pass
    state = client.get_runtime_backup_state()
    assert int(state.backup_states[0].checkpoint_id) == first + 1, state
    assert state.ranges, state
    client.resume_exporting()
    assert state_of(base)["paused"] is False
    restored = post(f"{base}/sim/restore", {"backup_id": first})
    assert restored["whole"] is True, restored

    client.delete_runtime_backup(backup_id=first)
    wait(client.get_runtime_backup, first, "404")
    assert ids() == [first + 1]
    client.delete_history_backup(backup_id=first)
    wait(client.get_history_backup, first, "404")
    requests = state_of(base)["requests"]
    assert requests["zeebe-post"] == 3 and requests["zeebe-delete"] == 1, requests
    print("ok: the published Python client listed, took and deleted backups on a simulated 8.10")


def state_of(base: str) -> dict:
    with urllib.request.urlopen(f"{base}/sim/state", timeout=10) as response:
        return json.load(response)


def post(url: str, body: dict) -> dict:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


if __name__ == "__main__":
    main(sys.argv[1])
