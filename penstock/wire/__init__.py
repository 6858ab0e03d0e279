"""Names and bytes between processes, for the gateway and the workers alike.

keys  records  scripts    what Redis keeps of a task, and the Lua that changes it (`lua/`)
headers  reserved_names   of task messages
names  delay              exchanges and queues that everyone knows; delays that the broker holds
end_events                the message that announces an end to a callback
json_meaning              JSON that stays what its client sent
ingest  document_rules    batches of documents
announcements             what workers say of themselves
kept_results              what a tenant's results take
schedules                 periodic tasks in Redis
recurrence  crontab  sun  when a periodic task runs next
environment  tls          settings, and what the URLs of servers say of TLS

Imports the standard library only, so that every process can afford it.
"""
