"""From the octets of a body to confirmed batches of checked documents.

A document passes through five files, in this order:

    gateway/http/body.py          socket → chunks: gunzipped, bounded, in turns
    gateway/decoding/splitter.py  chunks → texts: lines, elements, or the body as a whole
    checker.py                    texts → documents: checked, each with its `_id`
    filling.py                    documents → batches
    batch_publisher.py            batch → task message, and what became of it

`documents` is the way in, `ingestion` leads one request's body through them. A batch is filled in
two ways: by one request (`request_batches`), or by single documents of many (`group_commit`).
`lanes` knows where batches go, `stored` what MongoDB made of them; `document_faults` and
`large_documents` find what is wrong with the few documents that look suspicious.
"""
