"""The only home of aio-pika: publishing with confirms, consuming, control, depths, letters.

`task_message` writes the bytes, `publisher` owns a message until `confirms` knows its end.
"""
