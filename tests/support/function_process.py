"""A function's process, as Lambda runs one: a line in is an event, one on descriptor 3 what came of it."""

import importlib.util
import json
import os
import sys


class Context:
    """What the functions and Powertools read of Lambda's context."""

    function_name = "preview"
    function_version = "$LATEST"
    memory_limit_in_mb = 1769
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:preview"
    aws_request_id = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"

    def get_remaining_time_in_millis(self) -> int:
        """As if each call had just begun."""
        return 300_000


def main() -> None:
    """Load the function's app.py and answer until the input ends."""
    spec = importlib.util.spec_from_file_location("app", sys.argv[1])
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)
    with os.fdopen(3, "w", encoding="utf-8") as answers:
        for line in sys.stdin:
            try:
                outcome = {"answer": app.handler(json.loads(line), Context())}
            except Exception as error:  # noqa: BLE001 - as the runtime does
                outcome = {"error": type(error).__name__, "message": str(error)}
            sys.stdout.flush()
            answers.write(json.dumps(outcome) + "\n")
            answers.flush()


main()
