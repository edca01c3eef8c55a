// Nearcache is the operator's tool: it shows what Redis holds of a key, and drops it.
//
//	nearcache key NAMESPACE NAME                   the Redis keys of a cache key, and its bucket
//	nearcache get NAMESPACE NAME                   the record of a key
//	nearcache invalidate NAMESPACE NAME [VERSION]  make every instance drop what is older; without a version, whatever there is
//	nearcache watermarks                           how far each bucket has been applied
//
// Redis is given by -redis or REDIS_URL, the prefix by -prefix.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

var errUsage = errors.New("usage: nearcache [-redis URL] [-prefix P] key|get|invalidate NAMESPACE NAME [VERSION], or nearcache watermarks")

func main() {
	err := run(context.Background(), os.Args[1:], os.Getenv("REDIS_URL"), os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "nearcache:", err)
		os.Exit(1)
	}
}

// quiet tracks nothing.
type quiet struct{}

func (quiet) KeysChanged([]uint64) {}
func (quiet) SessionChanged()      {}

func run(ctx context.Context, args []string, url string, out io.Writer) error {
	fs := flag.NewFlagSet("nearcache", flag.ContinueOnError)
	if url == "" {
		url = "redis://127.0.0.1:6379"
	}
	fs.StringVar(&url, "redis", url, "Redis, as a URL (REDIS_URL)")
	prefix := fs.String("prefix", l2.DefaultPrefix, "the caches' prefix")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if bad := l2.CheckName(*prefix); bad != "" {
		return fmt.Errorf("%w: the prefix %s", errUsage, bad)
	}
	args = fs.Args()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	switch {
	case len(args) == 3 && args[0] == "key":
		k := l2.NewKeyspace(*prefix).Key(args[1], args[2])
		_, err := fmt.Fprintf(out, "bucket     %d\nrecord     %s\nlease      %s\nwatermark  %s\n", k.Bucket, k.Record, k.Lease,
			l2.NewKeyspace(*prefix).Watermark(k.Bucket))
		return err
	case len(args) == 3 && args[0] == "get", len(args) == 1 && args[0] == "watermarks",
		(len(args) == 3 || len(args) == 4) && args[0] == "invalidate":
	default:
		return errUsage
	}
	opt, err := rueidis.ParseURL(url)
	if err != nil {
		return fmt.Errorf("%w: -redis: %w", errUsage, err)
	}
	store, err := l2.Open(l2.Config{Redis: opt, Prefix: *prefix, Tracker: quiet{}})
	if err != nil {
		return err
	}
	defer store.Close()
	if err := store.Ready(ctx); err != nil {
		return err
	}
	switch args[0] {
	case "get":
		return get(ctx, store, store.Keyspace().Key(args[1], args[2]), out)
	case "invalidate":
		return invalidate(ctx, store, args[1:], out)
	}
	ws, err := store.Watermarks(ctx)
	for b, w := range ws {
		if !w.IsZero() {
			fmt.Fprintf(out, "%2d  epoch %s  position %s\n", b, w.Epoch, w.Position)
		}
	}
	return err
}

func get(ctx context.Context, store *l2.L2, k l2.Key, out io.Writer) error {
	raw, w, err := store.Get(ctx, k, true)
	if err != nil {
		return err
	}
	if raw == nil {
		_, err := fmt.Fprintln(out, "no record")
		return err
	}
	r, err := l2.DecodeRecord(raw)
	if err != nil {
		return err
	}
	kind := "value"
	if r.Absent {
		kind = "absence"
	}
	note := ""
	if r.Epoch != w.Epoch {
		note = fmt.Sprintf(" (the bucket's is %s: nobody reads this record)", w.Epoch)
	}
	_, err = fmt.Fprintf(out, "%s  version %s  schema %d\nepoch    %s%s\nwritten  %s\nexpires  %s\npayload  %d bytes: %.200q\n",
		kind, r.Version, r.Schema, r.Epoch, note, r.WrittenAt.Format(time.RFC3339Nano), r.ExpiresAt.Format(time.RFC3339Nano),
		len(r.Payload), r.Payload)
	return err
}

func invalidate(ctx context.Context, store *l2.L2, args []string, out io.Writer) error {
	var v uint64
	if len(args) == 3 {
		var err error
		if v, err = strconv.ParseUint(args[2], 10, 64); err != nil {
			return fmt.Errorf("%w: version %q", errUsage, args[2])
		}
	}
	if err := store.Apply(ctx, store.Keyspace().Key(args[0], args[1]), coherence.Version(v)); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, "invalidated")
	return err
}
