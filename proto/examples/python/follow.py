"""Keeps a copy of all refs in a file: lists them once, then watches, and goes on after any interruption where it stopped.

Usage: REFWATCH_SERVER=HOST:PORT python follow.py STATE_FILE
"""

import json
import os
import pathlib
import random
import sys
import time

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from refwatch.v1 import event_pb2, service_pb2, service_pb2_grpc

# The cursor leads nowhere any more: list again.
GAPS = {"CURSOR_EXPIRED", "CURSOR_FOREIGN_EPOCH", "CURSOR_AHEAD"}
# The connection broke, or the server is busy, starts or stops: try again.
TRANSIENT = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
}
DELAY_MIN_S, DELAY_MAX_S = 0.1, 15.0
# Without these a connection whose other end vanished would look like a quiet one.
KEEPALIVE = [("grpc.keepalive_time_ms", 20_000), ("grpc.keepalive_timeout_ms", 10_000)]


def say(**line):
    print(json.dumps(line), flush=True)


def load(path):
    """Gives what was stored: cursor and refs. None where nothing was."""
    return json.loads(path.read_text()) if path.exists() else None


def store(path, state):
    """Replaces the file: the cursor and what was made of it change together, or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w") as file:
        json.dump(state, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


def list_refs(stub):
    """Gives all refs, and the cursor to watch from."""
    refs, request = {}, service_pb2.ListRefsRequest()
    while True:
        page = stub.ListRefs(request, timeout=60)
        for ref in page.refs:
            value = "ref:" + ref.symbolic_target if ref.symbolic_target else ref.oid
            refs.setdefault(ref.repository_id, {})[ref.name] = value
        if not page.next_page_token:
            return {"cursor": page.cursor, "refs": refs}
        request.page_token = page.next_page_token


def apply(refs, event):
    """Applies an event to the refs. Types that this program does not know need no code: `change` says it all."""
    if event.type == event_pb2.GIT_EVENT_TYPE_REPOSITORY_DELETED:
        refs.pop(event.repository.id, None)
    elif event.change == event_pb2.REF_CHANGE_DELETED:
        refs.get(event.repository.id, {}).pop(event.ref_name, None)
    elif event.change != event_pb2.REF_CHANGE_UNSPECIFIED:
        value = "ref:" + event.new_symbolic_target if event.new_symbolic_target else event.new_oid
        refs.setdefault(event.repository.id, {})[event.ref_name] = value


def follow(stub, path, state):
    """Watches from the cursor until the stream breaks; yields each time that it made progress."""
    for message in stub.WatchEvents(service_pb2.WatchEventsRequest(cursor=state["cursor"])):
        for event in message.events.events:
            apply(state["refs"], event)
            say(
                event=event.event_id,
                type=event_pb2.GitEventType.Name(event.type),
                repository=event.repository.path,
                ref=event.ref_name,
                old=event.old_oid,
                new=event.new_oid,
            )
        kind = message.WhichOneof("kind")
        # Kinds that this program does not know are skipped.
        cursor = getattr(getattr(message, kind), "cursor", "") if kind else ""
        if cursor and cursor != state["cursor"]:
            state["cursor"] = cursor
            store(path, state)
        yield


def why(error):
    """Gives the reason of a status, and how many seconds the server asks to wait."""
    reason, delay_s = "", 0.0
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if detail.Unpack(info) and info.domain == "refwatch":
            reason = info.reason
        elif detail.Unpack(retry):
            delay_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return reason, delay_s


def main():
    path = pathlib.Path(sys.argv[1]).absolute()
    state = load(path)
    relist, delay_s = state is None, DELAY_MIN_S
    with grpc.insecure_channel(os.environ["REFWATCH_SERVER"], options=KEEPALIVE) as channel:
        stub = service_pb2_grpc.GitEventServiceStub(channel)
        while True:
            try:
                if relist:
                    # What was known and is not listed is deleted: the list takes the place of everything.
                    state = list_refs(stub)
                    store(path, state)
                    relist = False
                    say(listed=sum(len(refs) for refs in state["refs"].values()))
                for _ in follow(stub, path, state):
                    delay_s = DELAY_MIN_S
            except grpc.RpcError as error:
                reason, asked_s = why(error)
                say(ended=error.code().name, reason=reason)
                relist = relist or reason in GAPS
                if reason not in GAPS and error.code() not in TRANSIENT:
                    return 1
            else:
                asked_s = 0.0
            time.sleep(max(asked_s, delay_s * random.uniform(1, 2)))
            delay_s = min(2 * delay_s, DELAY_MAX_S)


sys.exit(main())
