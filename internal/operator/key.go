package operator

import (
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/tier"
)

// cacheKey is a key of a cache.
type cacheKey struct {
	Namespace string `json:"namespace"`
	Name      string `json:"key"`
}

// String is the key as arguments name it, or quoted if a terminal would not show it as it is.
func (k cacheKey) String() string {
	s := k.Namespace + ":" + k.Name
	if plain(s) != s {
		return strconv.Quote(s)
	}
	return s
}

// parseKey reads NAMESPACE:NAME, or the name of a record or of a lease in Redis.
func (t *tool) parseKey(arg string) (k cacheKey, err error) {
	prefix, err := t.prefixOf()
	if err != nil {
		return k, err
	}
	if m := regexp.MustCompile(`^` + regexp.QuoteMeta(prefix) + `:\{\d+\}:[vl]:`).FindString(arg); m != "" {
		arg = arg[len(m):]
	}
	var found bool
	if k.Namespace, k.Name, found = strings.Cut(arg, ":"); !found {
		return k, usage("%.60q is no key: it is NAMESPACE:NAME, such as product:42", arg)
	}
	if err := coherence.CheckName(k.Namespace); err != nil {
		return k, usage("the namespace %.60q %w", k.Namespace, err)
	}
	return k, nil
}

// namesResult is what the command key prints.
type namesResult struct {
	cacheKey
	Bucket    int    `json:"bucket"`
	Record    string `json:"record"`
	Lease     string `json:"lease"`
	Watermark string `json:"watermark"`
}

func (t *tool) keyCommand() *cobra.Command {
	return &cobra.Command{Use: "key KEY", Short: "Print the Redis keys of a cache key; connects to nothing",
		Args: exactly(1), RunE: func(cmd *cobra.Command, args []string) error {
			k, err := t.parseKey(args[0])
			if err != nil {
				return err
			}
			buckets, err := t.bucketsOf()
			if err != nil {
				return err
			}
			n, err := tier.NamesOf(t.or(t.prefix, "REDIS_PREFIX"), buckets, k.Namespace, k.Name)
			if err != nil {
				return usage("%w", err)
			}
			return t.show(cmd, namesResult{k, n.Bucket, n.Record, n.Lease, n.Watermark}, func(w io.Writer) {
				fmt.Fprintf(w, "bucket\t%d\nrecord\t%s\nlease\t%s\nwatermark\t%s\n", n.Bucket, n.Record, n.Lease, n.Watermark)
			})
		}}
}
