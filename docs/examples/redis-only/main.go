// Redis alone: a repository method behind a near cache, and a write that every instance notices.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/redis/rueidis"
)

func main() {
	ctx, repo := context.Background(), map[string]string{"42": "espresso"}
	find := func(_ context.Context, id string) (string, error) { return repo[id], nil }
	client, _ := nearcache.New(nearcache.Config{Redis: rueidis.ClientOption{InitAddress: []string{os.Getenv("REDIS_ADDR")}}})
	defer client.Close()
	products, _ := nearcache.NewCache(client, "product", nearcache.Options[string, string]{Load: nearcache.Unversioned(find)})
	fmt.Println(products.Get(ctx, "42"))
	_, err := products.Write(ctx, "42", func(context.Context) (nearcache.Version, error) { repo["42"] = "ristretto"; return 0, nil })
	fmt.Println(err)
	fmt.Println(products.Get(ctx, "42"))
}
