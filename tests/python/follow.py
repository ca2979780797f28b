"""Follows a refwatch with generated code alone, and goes on from its cursor.

Usage: follow.py ADDRESS CURSOR_FILE COUNT

Starts after the cursor in CURSOR_FILE, or with the oldest event where there is none. Prints one line of JSON for each
event, stores the cursor of each message, and ends after COUNT events, or with the name of the status that ended the
stream on standard error and exit code 1.
"""

import json
import pathlib
import sys

import grpc
from refwatch.v1 import event_pb2, service_pb2, service_pb2_grpc


def main() -> int:
    address, cursor_file, count = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
    request = service_pb2.WatchEventsRequest(
        filter=service_pb2.EventFilter(include_internal=True), max_batch_bytes=1024
    )
    if cursor_file.exists():
        request.cursor = cursor_file.read_text().strip()
    else:
        request.earliest.SetInParent()
    with grpc.insecure_channel(address) as channel:
        stub = service_pb2_grpc.GitEventServiceStub(channel)
        stream = stub.WatchEvents(request, timeout=60)
        try:
            for message in stream:
                for event in message.events.events:
                    line = {
                        "id": event.event_id,
                        "type": event_pb2.GitEventType.Name(event.type),
                        "ref": event.ref_name,
                        "old": event.old_oid,
                        "new": event.new_oid,
                    }
                    print(json.dumps(line))
                    cursor_file.write_text(event.cursor)
                    count -= 1
                    if count == 0:
                        return 0
                part = getattr(message, message.WhichOneof("kind"))
                if getattr(part, "cursor", ""):
                    cursor_file.write_text(part.cursor)
        except grpc.RpcError as error:
            print(error.code().name, file=sys.stderr)
            return 1
    return 1


sys.exit(main())
