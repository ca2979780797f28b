"""Reads CloudEvents, one a line of JSON, as the CloudEvents SDK does, and holds them against a schema of the JSON format.

Usage: judge_cloudevents.py. Prints a line of JSON for each: what the SDK understood. Ends at the first that is refused.
"""

import json
import pathlib
import sys

import jsonschema
from cloudevents.core.formats.json import JSONFormat

schema = json.loads(pathlib.Path(__file__).with_name("cloudevents.schema.json").read_text())
judge = jsonschema.Draft202012Validator(schema)
for line in sys.stdin:
    judge.validate(json.loads(line))
    event = JSONFormat().read(None, line)
    understood = {
        "id": event.get_id(),
        "source": event.get_source(),
        "type": event.get_type(),
        "subject": event.get_subject(),
        "time_us": round(event.get_time().timestamp() * 1_000_000),
        "datacontenttype": event.get_datacontenttype(),
        "sequence": event.get_extension("sequence"),
        "partitionkey": event.get_extension("partitionkey"),
        "data": event.get_data(),
    }
    print(json.dumps(understood))
