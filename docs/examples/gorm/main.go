// Command gorm is a GORM repository behind a near cache: reads by a Loader whose statement has value and version, and
// writes in a transaction, in which the table's trigger counts the version and writes the outbox.
//
// REDIS_ADDR is the address of Redis. DATABASE_URL is that of Postgres; without one the program uses an SQLite file of
// its own.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"sync"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence/relay"
	"github.com/nearcache/nearcache-go/nearcache"
)

func main() {
	if err := run(context.Background(), os.Stdout, os.Getenv("REDIS_ADDR"), os.Getenv("DATABASE_URL")); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, out io.Writer, redis, url string) error {
	dir, err := os.MkdirTemp("", "nearcache-gorm-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var s *store
	if url != "" {
		s, err = openPostgres(ctx, url)
	} else {
		s, err = openSQLite(ctx, filepath.Join(dir, "products.db"))
	}
	if err != nil {
		return err
	}
	defer s.close()
	client, err := nearcache.New(nearcache.Config{
		Redis:  rueidis.ClientOption{InitAddress: []string{redis}},
		Source: s.source,
	})
	if err != nil {
		return err
	}
	defer client.Close()
	products, err := newProducts(client, s)
	if err != nil {
		return err
	}
	// The relay is a program of its own in production (cmd/outbox-relay).
	relaying, stop := context.WithCancel(ctx)
	var relays sync.WaitGroup
	relays.Go(func() {
		if err := (relay.Relay{Source: s.source, L2: client.L2()}).Run(relaying); err != nil {
			log.Print(err)
		}
	})
	defer relays.Wait()
	defer stop()
	return show(ctx, out, products)
}

// show writes and reads a product.
func show(ctx context.Context, out io.Writer, products *Products) error {
	if err := products.Create(ctx, Product{ID: 42, Name: "espresso", PriceCents: 250}); err != nil {
		return err
	}
	for _, cents := range []int64{260, 270} {
		p, err := products.Get(ctx, 42) // the statement of find; later reads are served by this process or by Redis
		if err != nil {
			return err
		}
		fmt.Fprintln(out, p.Name, p.PriceCents)
		if err := products.SetPrice(ctx, 42, cents); err != nil {
			return err
		}
	}
	p, err := products.Get(ctx, 42)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, p.Name, p.PriceCents)
	return nil
}
