"""What Redis says of tasks.

records     what Celery and our workers store, decoded
state       what a record means, in the words of the API
reading     states for requests, many in one round trip
snapshots   states and missed events for streams, gathered into few round trips
"""
