"""From the bytes of a body to batches of checked documents.

`ndjson` and `json_array` cut, `documents` checks, `request_batches` fills, `batch_publisher`
publishes.
"""
