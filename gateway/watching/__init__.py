"""What becomes of tasks, as it happens: waited for and streamed.

notices           one subscribed connection to Redis: changes of all watched tasks
events            what is sent of a change, encoded once for all who watch
feed              the subscriptions of one client: what it gets first, then what changes
sockets           one WebSocket client; `event_source` one of Server-Sent Events
streams           all clients of the process
watch             feeds for streams; waiting for ends without a stream
viewers           who opens a stream, and which tasks they may watch

They know no application: `parts` puts them together.
"""
