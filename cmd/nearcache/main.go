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
	"github.com/nearcache/nearcache-go/tier"
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

func run(ctx context.Context, args []string, url string, out io.Writer) error {
	fs := flag.NewFlagSet("nearcache", flag.ContinueOnError)
	if url == "" {
		url = "redis://127.0.0.1:6379"
	}
	fs.StringVar(&url, "redis", url, "Redis, as a URL (REDIS_URL)")
	prefix := fs.String("prefix", tier.DefaultPrefix, "the caches' prefix")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if err := coherence.CheckName(*prefix); err != nil {
		return fmt.Errorf("%w: the prefix %w", errUsage, err)
	}
	args = fs.Args()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	switch {
	case len(args) == 3 && args[0] == "key":
		return key(*prefix, args[1], args[2], out)
	case len(args) == 3 && args[0] == "get", len(args) == 1 && args[0] == "watermarks",
		(len(args) == 3 || len(args) == 4) && args[0] == "invalidate":
	default:
		return errUsage
	}
	opt, err := rueidis.ParseURL(url)
	if err != nil {
		return fmt.Errorf("%w: -redis: %w", errUsage, err)
	}
	l2, err := tier.Open(tier.Config{Redis: opt, Prefix: *prefix})
	if err != nil {
		return err
	}
	defer l2.Close()
	if err := l2.Ready(ctx); err != nil {
		return err
	}
	switch args[0] {
	case "get":
		return get(ctx, l2, args[1], args[2], out)
	case "invalidate":
		return invalidate(ctx, l2, args[1:], out)
	}
	return watermarks(ctx, l2, out)
}

func key(prefix, namespace, name string, out io.Writer) error {
	n, err := tier.NamesOf(prefix, namespace, name)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "bucket     %d\nrecord     %s\nlease      %s\nwatermark  %s\n", n.Bucket, n.Record, n.Lease, n.Watermark)
	return err
}

func watermarks(ctx context.Context, l2 *tier.L2, out io.Writer) error {
	all, err := l2.Watermarks(ctx)
	if err != nil {
		return err
	}
	for _, w := range all {
		if _, err := fmt.Fprintf(out, "%2d  incarnation %s  position %s\n", w.Bucket, w.Incarnation, w.Position); err != nil {
			return err
		}
	}
	return nil
}

func get(ctx context.Context, l2 *tier.L2, namespace, name string, out io.Writer) error {
	r, ok, err := l2.Get(ctx, namespace, name)
	if err != nil {
		return err
	}
	if !ok {
		_, err := fmt.Fprintln(out, "no record")
		return err
	}
	kind := "value"
	if r.Absent {
		kind = "absence"
	}
	note := ""
	if !r.Readable {
		note = " (not the bucket's present one: no cache reads this record)"
	}
	_, err = fmt.Fprintf(out, "%s  version %s  schema %d\nincarnation  %s%s\nwritten  %s\nexpires  %s\npayload  %d bytes: %.200q\n",
		kind, r.Version, r.Schema, r.Incarnation, note, r.WrittenAt.Format(time.RFC3339Nano), r.ExpiresAt.Format(time.RFC3339Nano),
		len(r.Payload), r.Payload)
	return err
}

func invalidate(ctx context.Context, l2 *tier.L2, args []string, out io.Writer) error {
	e := coherence.Event{Namespace: args[0], Key: args[1], Op: coherence.OpUpdated}
	if len(args) == 3 {
		v, err := strconv.ParseUint(args[2], 10, 64)
		if err != nil {
			return fmt.Errorf("%w: version %q", errUsage, args[2])
		}
		e.Version = coherence.Version(v)
	}
	if err := l2.Apply(ctx, e); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, "invalidated")
	return err
}
