"""All that knows aiohttp's server: listener, connections, bodies, receipts, problems."""
