package demo_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// report is the outcome of a step of the tour.
type report struct {
	State, Error string
	Findings     []struct {
		Of   string
		OK   bool
		Text string
	}
}

// TestTour_ShowsWhatItPromises runs the six steps: whatever nearcache did must be right, and each step must catch a
// plain cache at what its story tells.
func TestTour_ShowsWhatItPromises(t *testing.T) {
	t.Parallel()
	p := start(t)
	caught := map[int][]string{1: {"ttl"}, 2: {"pubsub"}, 3: {"ttl", "pubsub"}, 4: {"ttl", "pubsub"}, 5: {"ttl"},
		6: {"ttl"}}
	for step := 1; step <= 6; step++ {
		var r report
		if status := p.post(t, "/demo/api/tour", fmt.Sprintf(`{"step":%d}`, step), &r); status != 200 || r.State != "done" {
			t.Errorf("step %d: got the status %d, %s: %s; want that it is done", step, status, r.State, r.Error)
		}
		wrong, ours := map[string]bool{}, 0
		for _, f := range r.Findings {
			t.Logf("step %d: %-9s %-5v %s", step, f.Of, f.OK, f.Text)
			if f.Of == "nearcache" {
				ours++
				if !f.OK {
					t.Errorf("step %d: nearcache was caught: %s", step, f.Text)
				}
			}
			if !f.OK {
				wrong[f.Of] = true
			}
		}
		if ours == 0 {
			t.Errorf("step %d says nothing of nearcache", step)
		}
		for _, of := range caught[step] {
			if !wrong[of] {
				t.Errorf("step %d did not catch the %s cache", step, of)
			}
		}
	}
}

// TestWrite_IsSeenByEveryInstance follows a write, and the versions that the page shows.
func TestWrite_IsSeenByEveryInstance(t *testing.T) {
	t.Parallel()
	p := start(t)
	s := p.open(t, "", "")
	await(t, s, "frame", func(f frame) bool {
		return len(f.Keys) > 1 && f.Keys[1].L1[0].Serves && f.Keys[1].L1[1].Serves && f.Keys[1].L1[2].Serves
	})
	var j journey
	if status := p.post(t, "/demo/api/write", `{"instance":0,"id":"p00002"}`, &j); status != 200 || !j.Done {
		t.Fatalf("got the status %d and %+v, want a write that is done", status, j)
	}
	at := map[string]int64{}
	for _, a := range j.Arrivals {
		at[fmt.Sprint(a.By, a.Instance)] = a.US
	}
	for _, stage := range []string{"database0", "outbox0", "kafka0", "redis0", "kafka1", "kafka2", "kafka3", "read1",
		"read2", "read3"} {
		if at[stage] <= 0 {
			t.Errorf("got no time for the stage %s: %v", stage, at)
		}
	}
	if at["database0"] > at["redis0"] { // the outbox is looked at now and then, so it may be seen after Kafka
		t.Errorf("got the times %v, want the database before Redis", at)
	}
	await(t, s, "frame", func(f frame) bool {
		k := f.Keys[1]
		return k.DB == j.Version && k.Redis == j.Version && k.L1[0].V == j.Version && k.L1[1].V == j.Version &&
			k.L1[2].V == j.Version
	})
	f := await(t, s, "frame", func(f frame) bool { return f.Audit.Reads > 3 })
	if f.Audit.Inconsistent > 0 {
		t.Errorf("the auditors found %d inconsistencies, want none", f.Audit.Inconsistent)
	}
}

// TestFaults_ShowAtOnce cuts, pauses and stops, and looks at what the page shows of it.
func TestFaults_ShowAtOnce(t *testing.T) {
	t.Parallel()
	p := start(t)
	s := p.open(t, "?rate=30", "")
	healthy := func(f frame) bool {
		for _, in := range f.Instances {
			if !in.Gate || !in.Redis || !in.Events {
				return false
			}
		}
		return f.Relay
	}
	await(t, s, "frame", healthy)
	p.act(t, "cut-redis", 1)
	f := await(t, s, "frame", func(f frame) bool {
		in := f.Instances[1]
		return in.RedisCut && !in.Redis && in.Gate && in.Channel == "events"
	})
	if !f.Instances[0].Redis || !f.Instances[2].Redis || !strings.Contains(f.Instances[1].Says, "No Redis") {
		t.Errorf("got %+v, want that only the second instance has lost Redis", f.Instances)
	}
	p.act(t, "cut-kafka", 1)
	await(t, s, "frame", func(f frame) bool { return !f.Instances[1].Gate && f.Instances[0].Gate })
	p.act(t, "heal", -1)
	await(t, s, "frame", healthy)

	p.act(t, "pause", 2)
	await(t, s, "frame", func(f frame) bool { return f.Instances[2].Paused && f.Instances[2].Reads == 0 })
	held := make(chan int)
	go func() {
		res, err := http.Get(p.urls[2] + "/products/p00001")
		if err != nil {
			held <- 0
			return
		}
		_ = res.Body.Close()
		held <- res.StatusCode
	}()
	select {
	case status := <-held:
		t.Errorf("a paused instance answered with the status %d", status)
	case <-afterFrames(t, s, 15):
	}
	p.act(t, "resume", 2)
	if status := <-held; status != 200 {
		t.Errorf("got the status %d after the instance woke, want 200", status)
	}
	await(t, s, "frame", healthy)

	p.act(t, "stop-relay", -1)
	if status := p.post(t, "/demo/api/write", `{"instance":0,"id":"p00003"}`, nil); status != 200 {
		t.Fatalf("a write without a relay: got the status %d, want 200", status)
	}
	await(t, s, "frame", func(f frame) bool {
		return !f.Relay && !f.Instances[0].Gate && !f.Instances[1].Gate && !f.Instances[2].Gate
	})
	p.act(t, "start-relay", -1)
	await(t, s, "frame", healthy)
	p.act(t, "flush", -1)
	await(t, s, "frame", healthy)
	p.act(t, "start-compare", -1)
	p.act(t, "start-load", -1)
	f = await(t, s, "frame", func(f frame) bool { return f.Scores[0].Reads > 2000 && f.Scores[1].Stale > 0 })
	if f.Scores[0].Over > 0 {
		t.Errorf("%d answers were older than the bound, by up to %v ms", f.Scores[0].Over, f.Scores[0].Worst)
	}
	p.act(t, "stop-load", -1)
}

// afterFrames is closed when the stream has had n more frames.
func afterFrames(t *testing.T, s *stream, n int) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range n {
			if _, err := s.next(); err != nil {
				t.Error(err)
			}
		}
	}()
	return done
}

// TestStream_Resumes gives a viewer what it missed, and all there is to one of another run of the server.
func TestStream_Resumes(t *testing.T) {
	t.Parallel()
	p := start(t)
	s := p.open(t, "", "")
	p.act(t, "cut-kafka", 0)
	e := nextNote(t, s)
	p.act(t, "heal-kafka", 0)
	_ = s.body.Close()
	if again := nextNote(t, p.open(t, "", e.id)); !strings.Contains(again.data, "follows Kafka's events again") {
		t.Errorf("got %s, want the note after the last one that was seen", again.data)
	}
	if all := nextNote(t, p.open(t, "", "another.7")); all.id != e.id {
		t.Errorf("a viewer of another run got %+v first, want the first note", all)
	}
	p.stop() // with streams open
}

func nextNote(t *testing.T, s *stream) event {
	t.Helper()
	for {
		e, err := s.next()
		if err != nil {
			t.Fatal(err)
		}
		if e.kind == "note" {
			return e
		}
	}
}

// TestRequests_AreRefused asks for what there is not.
func TestRequests_AreRefused(t *testing.T) {
	t.Parallel()
	p := start(t)
	for _, c := range []struct {
		path, body string
		status     int
		says       string
	}{
		{"/demo/api/act", `{"do":"explode"}`, 400, "no action"},
		{"/demo/api/act", `{"do":"pause"}`, 400, "instance"},
		{"/demo/api/act", `{"do":"pause","instance":3}`, 400, "instance"},
		{"/demo/api/act", `no json`, 400, "JSON"},
		{"/demo/api/act", `{"unknown":1}`, 400, "unknown"},
		{"/demo/api/act", `{"do":"` + strings.Repeat("x", 5000) + `"}`, 400, "large"},
		{"/demo/api/write", `{"instance":0,"id":"p99999"}`, 400, "p00001"},
		{"/demo/api/write", `{"id":"p00001"}`, 400, "instance"},
		{"/demo/api/tour", `{"step":7}`, 400, "from 1 to 6"},
	} {
		var problem struct{ Detail string }
		if status := p.post(t, c.path, c.body, &problem); status != c.status || !strings.Contains(problem.Detail, c.says) {
			t.Errorf("%s %s: got the status %d and %q, want %d and %q", c.path, c.body, status, problem.Detail, c.status,
				c.says)
		}
	}
	p.act(t, "pause", 0)
	var problem struct{ Detail string }
	if status := p.post(t, "/demo/api/write", `{"instance":0,"id":"p00001"}`, &problem); status != 400 ||
		!strings.Contains(problem.Detail, "paused") {
		t.Errorf("a write on a paused instance: got the status %d and %q", status, problem.Detail)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.urls[0]+"/demo/api/act",
		strings.NewReader(`{"do":"flush"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("another site's page got the status %d, want 403", res.StatusCode)
	}
}
