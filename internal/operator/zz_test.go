package operator_test

import (
	"testing"
	"time"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

func TestZZ(t *testing.T) {
	_, _, src := anybodys(t)
	if err := src.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	redis := nearcachetest.NewRedis(t)
	runRelay(t, src, redis, nil)
	e := engineOf(t, redis)
	for range 5 {
		<-time.After(300*time.Millisecond)
		r, err := e.Round(t.Context())
		ws, _ := e.Watermarks(t.Context())
		ap, _ := e.Applied(t.Context())
		p, _ := src.Position(t.Context())
		t.Logf("%+v %v\n %v\n%v\n pos %v", r, err, ws[0], ap[0], p)
	}
}
