"""Darkroom's tasks with Temporal's own client; ../README.md says what the commands do."""

import asyncio
import json
import os
import sys
import traceback
from datetime import timedelta

from temporalio.client import Client, WorkflowFailureError
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, CancelledError, WorkflowAlreadyStartedError


def workflow_id(task_id: str) -> str:
    return f"task-{task_id}"


async def start(client: Client, task: dict) -> None:
    """Starts a task. One of this id that is there already, running or ended well, is found instead."""
    try:
        await client.start_workflow(
            "generate_images",
            task,
            id=workflow_id(task["task_id"]),
            task_queue="darkroom",
            execution_timeout=timedelta(hours=24),
            task_timeout=timedelta(seconds=2),
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
        )
    except WorkflowAlreadyStartedError:
        pass
    print(workflow_id(task["task_id"]))


async def result(client: Client, task_id: str) -> int:
    """Waits for a task's end; returns the exit code."""
    try:
        print(json.dumps(await client.get_workflow_handle(workflow_id(task_id)).result()))
        return 0
    except WorkflowFailureError as error:
        cause = error.cause
        if isinstance(cause, CancelledError):
            # null: cancelled before it could leave an output
            print(json.dumps(cause.details[0] if cause.details else None))
            return 5
        kind = cause.type if isinstance(cause, ApplicationError) else type(cause).__name__
        print(json.dumps({"type": kind, "message": getattr(cause, "message", str(cause))}))
        return 4


async def main() -> int:
    if len(sys.argv) != 3 or sys.argv[1] not in ("start", "progress", "result", "cancel"):
        print(
            "usage: darkroom.py start <json> | progress <task_id> | result <task_id> | cancel <task_id>",
            file=sys.stderr,
        )
        return 2
    command, argument = sys.argv[1:]
    client = await Client.connect(
        os.environ.get("TEMPORAL_ADDRESS", "127.0.0.1:7233"),
        namespace=os.environ.get("TEMPORAL_NAMESPACE", "default"),
    )
    if command == "start":
        await start(client, json.loads(argument))
    elif command == "progress":
        print(json.dumps(await client.get_workflow_handle(workflow_id(argument)).query("progress")))
    elif command == "result":
        return await result(client, argument)
    elif command == "cancel":
        await client.get_workflow_handle(workflow_id(argument)).cancel()
    return 0


if __name__ == "__main__":
    try:
        code = asyncio.run(main())
    except Exception:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: in a program this short, threads of the SDK often crash the interpreter while it shuts down
    # (temporalio/sdk-python issue 300), and the exit code is lost.
    os._exit(code)
