package app

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestSampler_CountsWhatItDrops: a storm of failures leaves a few lines, and one that says how many there were.
func TestSampler_CountsWhatItDrops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		log := slog.New(newSampler(slog.NewTextHandler(&out, nil)))
		for i := range 1000 {
			log.With("instance", i%3).Error("a request failed", "path", i)
			serverLog(log).Printf("http: TLS handshake error from 10.0.0.1:%d: EOF", i)
			log.Info("informs")
		}
		time.Sleep(sampleWindow + time.Second)
		synctest.Wait()
		for text, want := range map[string]int{"msg=\"a request failed\"": sampleBurst, "handshake": sampleBurst,
			"msg=informs": 1000,
			`msg="lines suppressed" message="a request failed" count=990 within=10s`: 1, "count=990": 2} {
			if got := strings.Count(out.String(), text); got != want {
				t.Errorf("%d lines with %s, want %d", got, text, want)
			}
		}
		out.Reset()
		log.Error("a request failed")
		time.Sleep(sampleWindow + time.Second)
		synctest.Wait()
		if got := out.String(); strings.Count(got, "a request failed") != 1 || strings.Contains(got, "suppressed") {
			t.Errorf("afterwards: %s", got)
		}
	})
}
