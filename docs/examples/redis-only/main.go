// Command redis-only is a repository method behind a near cache, with Redis and nothing else.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/nearcache"
)

func main() {
	if err := run(context.Background(), os.Getenv("REDIS_ADDR")); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, addr string) error {
	repo := map[string]string{"42": "espresso"} // your database
	find := func(_ context.Context, id string) (string, error) { return repo[id], nil }

	client, err := nearcache.New(nearcache.Config{
		Redis: rueidis.ClientOption{InitAddress: []string{addr}},
	})
	if err != nil {
		return err // the configuration is wrong; while Redis is down, New succeeds and the client recovers
	}
	defer client.Close()
	products, err := nearcache.NewCache(client, "product", nearcache.Options[string, string]{
		Find: find,
	})
	if err != nil {
		return err
	}

	name, err := products.Get(ctx, "42") // calls find; later reads are served by this process or by Redis
	if err != nil {
		return err
	}
	fmt.Println(name)

	_, err = products.Write(ctx, "42", func(context.Context) (nearcache.Version, error) {
		repo["42"] = "ristretto"
		return 0, nil // 0: this repository has no versions
	})
	if err != nil {
		return err
	}
	name, err = products.Get(ctx, "42") // every instance now reads the new name
	if err != nil {
		return err
	}
	fmt.Println(name)
	return nil
}
