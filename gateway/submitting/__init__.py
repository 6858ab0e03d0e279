"""From the JSON of one task to its published message.

`task_request` → `submission` (check, plan, message) → `gateway.rabbitmq.publisher`.
"""
