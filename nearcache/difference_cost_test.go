package nearcache

import "testing"

type flatRow struct {
	ID, Name     string
	Price, Stock int64
	About        string
}

// aFlatRow returns a new copy each time, so that its strings are not those of another copy.
func aFlatRow() flatRow {
	return flatRow{ID: string([]byte("p0000007")), Name: string([]byte("Espresso machine no. 7")), Price: 1007, Stock: 7,
		About: string([]byte("Fifteen bars, a steel boiler, a wand."))}
}

// A miss may compare its value with what was decoded. Equal values need no path, and so no memory for one: only the two
// copies that reflect reads are allocated.
func TestDifference_EqualValuesCostNoPath(t *testing.T) {
	a, b := aFlatRow(), aFlatRow()
	var path string
	if n := testing.AllocsPerRun(100, func() { path = difference(a, b) }); n > 2 {
		t.Errorf("a comparison of equal values: got %v allocations, want at most 2", n)
	}
	if path != "" {
		t.Errorf("two equal values: got the path %q, want none", path)
	}
	b.Stock++
	if path = difference(a, b); path != ".Stock" {
		t.Errorf("two values with different stocks: got the path %q, want .Stock", path)
	}
}

func BenchmarkDifference(b *testing.B) {
	x, y := aFlatRow(), aFlatRow()
	b.ReportAllocs()
	for b.Loop() {
		difference(x, y)
	}
}
