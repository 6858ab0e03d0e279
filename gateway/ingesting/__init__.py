"""From the bytes of a body to batches of checked documents.

`documents` checks, `request_batches` fills, `batch_publisher` publishes.
"""
