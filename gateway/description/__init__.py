"""What the API is, in OpenAPI: a table of operations, their schemas, a page to read them."""
