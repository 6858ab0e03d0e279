"""The HTTP API, one file per noun: its routes, its requests, its answers.

`front` wraps every request. Nothing below knows `web.Application`.
"""
