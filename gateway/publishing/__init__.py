"""From a request to a confirmed task message.

`task_request` → `submission` → `task_message` → `publisher` → `confirms`.
"""
