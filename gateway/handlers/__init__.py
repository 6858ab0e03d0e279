"""One file per noun of the API; each offers `routes()`."""
