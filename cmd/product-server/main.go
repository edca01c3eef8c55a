// Product-server serves products over HTTP from a near cache. Without configuration it brings its own Redis, Kafka and
// database along. -h lists flags and the environment; docs/reference/http.md has the API.
package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/nearcache/nearcache-go/internal/product/app"
)

func main() {
	os.Exit(app.Main(app.ProductServer, func(ctx context.Context, c app.Config, log *slog.Logger) error {
		s := app.Server{Config: c, Logger: log, Out: os.Stdout}
		return s.Run(ctx)
	}))
}
