"""From the octets of a body to JSON texts: gunzip, byte order, lines, arrays. Pure.

`byte_order` and `gunzip` see the chunks first, a `splitter` (`ndjson`, `json_array`, `json_body`)
cuts them into texts, `json_text` looks for what a parser lets through. What comes may be anything,
in pieces of any size; each piece of work is bounded, and what takes longer is done in `steps`.
"""
