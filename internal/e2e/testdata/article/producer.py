"""A product service of another team: it announces each update of a product, and knows no other type of event."""
import json
import sys
from datetime import datetime

from kafka import KafkaProducer

producer = KafkaProducer(
    bootstrap_servers=sys.argv[1],
    key_serializer=lambda k: str(k).encode("utf-8"),
    value_serializer=lambda v: json.dumps(v).encode("utf-8"),
    acks="all",
)
for product_id in sys.argv[3:]:
    event = {"type": "PRODUCT_UPDATED", "product_id": product_id, "timestamp": datetime.utcnow().isoformat()}
    producer.send(sys.argv[2], key=product_id, value=event).get(timeout=30)
producer.close()
