//go:build ablate

package nearcache_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/nearcache"
)

// TestAblation_TheAuditorFindsIt: a rule that is gone shows within a minute, and the cause names the tier.
func TestAblation_TheAuditorFindsIt(t *testing.T) {
	for _, c := range []struct {
		rule         ablate.Rule
		provoke      func(t *testing.T, b *bounded)
		cause, shows string
	}{
		{ablate.Generation, func(t *testing.T, b *bounded) { // an invalidation ends no entry of L1
			b.src.write("a", "one")
			time.Sleep(time.Second)
			b.warm(t)
			b.src.write("a", "two")
		}, "l1_not_invalidated", "vouched for by tracking"},
		{ablate.FillNeedsLease, func(t *testing.T, b *bounded) { // a load is overtaken by a write, and fills L2 all the same
			b.src.write("a", "one")
			time.Sleep(time.Second)
			read, committed := make(chan struct{}), make(chan struct{})
			b.src.after = func(string) {
				b.src.after = nil
				close(read)
				<-committed
			}
			go func() { _, _ = b.Get(t.Context(), "a") }()
			<-read
			b.src.write("a", "two")
			time.Sleep(time.Second) // the relay applies it
			close(committed)
			synctest.Wait()
		}, "l2_not_invalidated", "an old value was filled"},
	} {
		for _, without := range []ablate.Rule{"", c.rule} {
			t.Run(string(c.rule)+", taken out: "+string(without), func(t *testing.T) {
				if err := ablate.Take(without); err != nil {
					t.Fatal(err)
				}
				defer func() { _ = ablate.Take("") }()
				found := make(chan nearcache.Difference, 100)
				inBoundedBubbleWith(t, nearcache.Audit[string, string]{Rate: 100,
					Found: func(d nearcache.Difference) { found <- d }}, func(t *testing.T, b *bounded) {
					c.provoke(t, b)
					for began := time.Now(); time.Since(began) < time.Minute && len(found) == 0; {
						_, _ = b.Get(t.Context(), "a")
						time.Sleep(5 * time.Millisecond)
					}
				})
				switch {
				case without == "" && len(found) > 0:
					t.Errorf("with every rule it finds %+v", <-found)
				case without != "" && len(found) == 0:
					t.Error("it finds nothing within a minute")
				case without != "":
					if d := <-found; d.Cause != c.cause || !strings.Contains(d.Text, c.shows) {
						t.Errorf("found %+v, want the cause %s and %q", d, c.cause, c.shows)
					}
				}
			})
		}
	}
}
