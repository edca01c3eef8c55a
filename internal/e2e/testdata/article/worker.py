"""A cache invalidator of another team: it deletes product:<id> from Redis at each PRODUCT_UPDATED, warns of every other
message, and commits its offsets automatically."""
import json
import sys

import redis
from kafka import KafkaConsumer

brokers, topic, group, redis_host, redis_port = sys.argv[1:6]
cache = redis.Redis(host=redis_host, port=int(redis_port))
consumer = KafkaConsumer(
    topic,
    bootstrap_servers=brokers,
    group_id=group,
    auto_offset_reset="earliest",
    enable_auto_commit=True,
)
print("ready", flush=True)
for message in consumer:
    try:
        event = json.loads(message.value.decode("utf-8"))
        if event.get("type") == "PRODUCT_UPDATED" and event.get("product_id"):
            cache.delete(f"product:{event['product_id']}")
            print(f"deleted {event['product_id']}", flush=True)
        else:
            print(f"warning: unknown event {message.value!r}", flush=True)
    except Exception as error:
        print(f"warning: {error}", flush=True)
