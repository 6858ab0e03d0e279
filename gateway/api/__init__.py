"""The HTTP API, one file per noun: its structs, its operations, its routes, its handlers.

Read one from top to bottom, `submit` first. The structs of its bodies and answers are the schema,
with the docstrings of their fields; an `Operation` says what a route takes, answers and refuses,
with an example of each; then come the handlers.

`front` wraps every request. `parts` holds what handlers look up, one key for each capability.
`description` makes `/openapi.json` and `/docs` of the operations. Nothing below knows
`web.Application`.
"""
