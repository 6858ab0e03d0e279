"""All that knows aiohttp's server: from the listening socket to a body, and back to an answer.

In the order of a request:

    listener, turned_away   the socket, and connections beyond its bound
    connection              one connection: overdue heads, broken bodies, bad HTTP
    frame_meter             what a WebSocket's client has sent and is not handled yet
    front_door, media_types whom requests are taken from: host, origin, media type
    traits, expectations    what is special about the route
    body, held_body         the body: gunzipped, bounded, whole or in chunks; counted while held
    turns                   who computes next
    problems, receipt       the answer

`drain` says whether the gateway shuts down, `parts` puts the room together. It refuses to know what
a body holds (`gateway/decoding`) and what a request is for.
"""
