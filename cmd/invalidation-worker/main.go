// Invalidation-worker is a Kafka consumer group that applies the products' version events to Redis.
package main

import (
	"os"

	"github.com/nearcache/nearcache-go/internal/product/app"
)

func main() { os.Exit(app.Main(app.InvalidationWorker, app.Worker)) }
