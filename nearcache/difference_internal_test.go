package nearcache

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

type diffInner struct {
	name string
	at   time.Time
}

type diffOuter struct {
	ID    int
	inner diffInner
	ptr   *diffInner
	tags  map[string][]int
	any   any
	list  []diffInner
	f     float64
	fn    func()
	next  *diffOuter
	arr   [2]string
	m     map[diffInner]any
}

// folded is equal to what differs in its second letter.
type folded string

func (f folded) Equal(o folded) bool { return f[:1] == o[:1] }

func TestDifference_NamesTheFirstPathThatDiffers(t *testing.T) {
	now := time.Now()
	for name, test := range map[string]struct {
		a, b any
		want string
	}{
		"equal":               {diffOuter{ID: 1, f: 2}, diffOuter{ID: 1, f: 2}, ""},
		"an exported field":   {diffOuter{ID: 1}, diffOuter{ID: 2}, ".ID"},
		"an unexported field": {diffOuter{inner: diffInner{name: "a"}}, diffOuter{}, ".inner.name"},
		"behind a pointer":    {diffOuter{ptr: &diffInner{name: "a"}}, diffOuter{ptr: &diffInner{}}, ".ptr.name"},
		"a pointer and nil":   {diffOuter{ptr: &diffInner{}}, diffOuter{}, ".ptr"},
		"equal pointers":      {diffOuter{ptr: &diffInner{name: "a"}}, diffOuter{ptr: &diffInner{name: "a"}}, ""},
		"a map's element": {diffOuter{tags: map[string][]int{"a": {1, 2}}},
			diffOuter{tags: map[string][]int{"a": {1, 3}}}, `.tags["a"][1]`},
		"a map's missing key": {diffOuter{tags: map[string][]int{"a": {1}}},
			diffOuter{tags: map[string][]int{"b": {1}}}, `.tags["a"]`},
		"a map with struct keys": {diffOuter{m: map[diffInner]any{{name: "k"}: 1}},
			diffOuter{m: map[diffInner]any{{name: "k"}: 1}}, ""},
		"nil and empty": {diffOuter{tags: map[string][]int{}, list: []diffInner{}}, diffOuter{}, ""},
		"a slice's element": {diffOuter{list: []diffInner{{}, {name: "x"}}},
			diffOuter{list: []diffInner{{}, {name: "y"}}}, ".list[1].name"},
		"an array's element":     {diffOuter{arr: [2]string{"a", "b"}}, diffOuter{arr: [2]string{"a", "c"}}, ".arr[1]"},
		"a longer slice":         {diffOuter{list: []diffInner{{}, {}}}, diffOuter{list: []diffInner{{}}}, ".list"},
		"another dynamic type":   {diffOuter{any: int64(1)}, diffOuter{any: float64(1)}, ".any"},
		"within an interface":    {diffOuter{any: diffInner{name: "a"}}, diffOuter{any: diffInner{name: "b"}}, ".any.name"},
		"large numbers in a map": {map[string]any{"n": int64(1<<53 + 1)}, map[string]any{"n": float64(1 << 53)}, `["n"]`},
		"NaN":                    {diffOuter{f: math.NaN()}, diffOuter{f: math.NaN()}, ""},
		"the same time, no clock": {diffOuter{inner: diffInner{at: now}},
			diffOuter{inner: diffInner{at: now.Round(0).UTC()}}, ""},
		"another time": {diffOuter{inner: diffInner{at: now}},
			diffOuter{inner: diffInner{at: now.Add(1)}}, ".inner.at"},
		"a method Equal":           {folded("ab"), folded("ac"), ""},
		"a method Equal, no":       {folded("ab"), folded("bc"), " (the value itself)"},
		"a function that was lost": {diffOuter{fn: func() {}}, diffOuter{}, ".fn"},
		"a plain value":            {"a", "b", " (the value itself)"},
	} {
		if got := difference(test.a, test.b); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
		if test.a == nil {
			continue
		}
		equal := cmp.Equal(test.a, test.b, cmp.AllowUnexported(diffOuter{}, diffInner{}),
			cmpopts.EquateEmpty(), cmpopts.EquateNaNs())
		if equal != (test.want == "") {
			t.Errorf("%s: go-cmp finds them equal: %v", name, equal)
		}
	}
}

// A value may contain itself.
func TestDifference_EndsOnCycles(t *testing.T) {
	a, b := &diffOuter{ID: 1}, &diffOuter{ID: 1}
	a.next, b.next = a, b
	if got := difference(a, b); got != "" {
		t.Errorf("got %q, want no difference", got)
	}
	b.next = &diffOuter{ID: 2}
	if got := difference(a, b); got != ".next.ID" {
		t.Errorf("got %q, want \".next.ID\"", got)
	}
}

// What parses alike is alike: jsonb of Postgres has blanks that encoding/json leaves out.
func TestDifference_OfJSONText(t *testing.T) {
	for name, test := range map[string]struct {
		a, b any
		same bool
	}{
		"blanks":           {json.RawMessage(`{"a": [1, "<"]}`), json.RawMessage(`{"a":[1,"\u003c"]}`), true},
		"nil and null":     {json.RawMessage(nil), json.RawMessage("null"), true},
		"another number":   {json.RawMessage(`{"a": 1}`), json.RawMessage(`{"a":2}`), false},
		"blanks in a text": {json.RawMessage(`"a b"`), json.RawMessage(`"ab"`), false},
		"what is no JSON":  {json.RawMessage(`{`), json.RawMessage(`{ `), false},
		"bytes":            {[]byte(`{"a": 1}`), []byte(`{"a":1}`), false},
	} {
		if got := difference(test.a, test.b); (got == "") != test.same {
			t.Errorf("%s: difference %q", name, got)
		}
	}
}
