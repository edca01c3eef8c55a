package report

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
)

func TestGrid_ShowsEachFigureOnceAndWhatIsMissing(t *testing.T) {
	g := &measure.Grid{Columns: []string{"Redis killed", "Source down"}, Hi: 100}
	g.Set("nearcache", 0, 12.5)
	g.Set("otter", 1, 25)
	g.Set("nearcache", 1, 75)
	drawn := svg(measure.Plot{Title: "a < b", Grid: g})
	for want, n := range map[string]int{">12.5<": 1, ">25<": 1, ">75<": 1, ">-<": 1, ">nearcache<": 1, ">otter<": 1,
		">killed<": 1} {
		if got := strings.Count(drawn, want); got != n {
			t.Errorf("%q is there %d times, want %d", want, got, n)
		}
	}
	for d := xml.NewDecoder(strings.NewReader(drawn)); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
