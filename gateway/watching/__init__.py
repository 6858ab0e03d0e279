"""What became of tasks: read, waited for, streamed, revoked.

`states` reads records, `notices` hears changes, `feed` tells one client what it watches.
"""
