"""The drill: break everything under load, heal it, and account for every receipt.

Knows the product only from outside: HTTP, the servers, and processes that can be killed. Read
`__main__` (what happens), `faults` (what breaks), `load` (what is sent), `reconcile` (what must
have become of it).
"""
