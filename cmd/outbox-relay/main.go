// Outbox-relay carries the products' changes from the database to Kafka and Redis. Of several one works at a time.
package main

import (
	"os"

	"github.com/nearcache/nearcache-go/internal/product/app"
)

func main() { os.Exit(app.Main(app.OutboxRelay, app.Relay)) }
