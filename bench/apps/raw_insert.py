"""MongoDB's limit for one PyMongo client: `insert_many` of 1,000, journaled, nothing else.

Prints one line of JSON. `python -m … SECONDS COLLECTION`
"""

import json
import os
import sys
import time

from pymongo import MongoClient, WriteConcern

from bench.documents import reading

_BATCH = 1000


def main() -> None:
    seconds, name = float(sys.argv[1]), sys.argv[2]
    client: MongoClient[dict[str, object]] = MongoClient(os.environ["MONGO_URL"])
    collection = client.get_default_database().get_collection(
        name, write_concern=WriteConcern(w=1, j=True)
    )
    stored = 0
    started, cpu_before = time.monotonic(), time.process_time()
    while time.monotonic() - started < seconds:
        # made anew each time: insert_many adds `_id` to what it is given
        documents = [reading(stored + index) for index in range(_BATCH)]
        stored += len(collection.insert_many(documents, ordered=False).inserted_ids)
    elapsed = time.monotonic() - started
    used = time.process_time() - cpu_before
    print(json.dumps({"documents": stored, "seconds": elapsed, "cpu_s": used}))


if __name__ == "__main__":
    main()
