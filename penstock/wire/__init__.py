"""Names and bytes between processes, for the gateway and the workers alike.

keys  records  scripts    what Redis keeps of a task, and the Lua that changes it (`lua/`)
headers  reserved_names   of task messages
json_meaning              JSON that stays what its client sent
ingest  document_rules    batches of documents
announcements             what workers say of themselves
kept_results              what a tenant's results take
schedules                 periodic tasks in Redis
recurrence  crontab  sun  when a periodic task runs next

Imports the standard library only, so that every process can afford it.
"""
