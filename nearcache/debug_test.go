package nearcache_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// ask sends a DebugHandler a question and reads the answer.
func ask(t *testing.T, h http.Handler, query string) (status int, answer map[string]any) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/?"+query, nil))
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Fatalf("%s: %v\n%s", query, err, w.Body)
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%s: a cache may keep the answer", query)
	}
	return w.Code, answer
}

// field is a value within an answer, "a.b" that of b within a.
func field(answer map[string]any, path string) any {
	var at any = answer
	for name := range strings.SplitSeq(path, ".") {
		m, _ := at.(map[string]any)
		at = m[name]
	}
	return at
}

func TestDebugHandler_SaysWhatEachTierHolds(t *testing.T) {
	redis, src := nearcachetest.NewRedis(t), newSource()
	src.put("a", "one")
	client := newClient(t, nearcache.Config{Redis: redis.ClientOption()})
	if err := client.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := newCache(t, client, nearcache.Options[string, string]{Load: src.load})
	h := nearcache.DebugHandler(client)
	expect := func(query string, want map[string]any) map[string]any {
		t.Helper()
		status, answer := ask(t, h, query)
		if status != http.StatusOK {
			t.Fatalf("%s: got the status %d and %v, want 200", query, status, answer)
		}
		for path, v := range want {
			if got := field(answer, path); got != v {
				t.Errorf("%s: got %s %v, want %v, in %v", query, path, got, v, answer)
			}
		}
		return answer
	}
	expect("cache=t&key=a", map[string]any{"tier": "source", "l1": nil, "l2": nil, "value": nil})
	expect("cache=t&key=a&tier=l1", map[string]any{"tier": "none", "l1": nil, "l2": nil})
	resident(t, c, "a")
	expect("cache=t&key=a&tier=l1", map[string]any{"tier": "l1", "l1.version": 1.0, "l1.serves": true, "l2": nil})
	expect("cache=t&key=a", map[string]any{"tier": "l1", "key": "a", "l1.version": 1.0, "l1.serves": true,
		"l2.version": 1.0, "l2.serves": true, "value": nil})
	expect("cache=t&key=a&value=true", map[string]any{"tier": "l1", "value": "one"})

	// Another instance writes: L1 here no longer serves, and nothing is in L2.
	other := open(t, redis.ClientOption(), src)
	two := nearcache.Entry[string]{Value: "two", Version: src.put("a", "two")}
	if err := other.Set(t.Context(), "a", two); err != nil {
		t.Fatal(err)
	}
	answer := expect("cache=t&key=a&value=true", map[string]any{"tier": "l2", "l1.serves": false,
		"l1.refused": "invalidated", "l2.version": 2.0, "value": "two"})
	if field(answer, "l1.version") != 1.0 {
		t.Errorf("got the version %v in L1, want the old one, 1", field(answer, "l1.version"))
	}
	redis.Do("DEL", key("a").Record)
	expect("cache=t&key=a", map[string]any{"tier": "source", "l1.refused": "invalidated", "l2": nil})

	before := expect("", map[string]any{"mode": "on", "redis": true, "ready": true, "prefix": "nc"})
	if field(before, "caches.t.loads") != 1.0 || field(before, "caches.t.l2_hits").(float64) < 1 ||
		field(before, "caches.t.l1_misses").(float64) < 1 {
		t.Errorf("got %v, want one load, and hits and misses", field(before, "caches.t"))
	}
	if err := client.SetMode(nearcache.ModeOff); err != nil {
		t.Fatal(err)
	}
	expect("cache=t&key=a", map[string]any{"tier": "source", "l1": nil})
	if err := client.SetMode(nearcache.ModeOn); err != nil {
		t.Fatal(err)
	}
	redis.Close()
	answer = expect("cache=t&key=a", map[string]any{"tier": "source"})
	if field(answer, "l2_error") == nil {
		t.Errorf("got %v, want that Redis is away", answer)
	}
	expect("cache=t&key=a&tier=l1", map[string]any{"tier": "none", "l1.serves": false, "l2_error": nil})
}

func TestDebugHandler_FindsTheHottestWhileItIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		redis, err := nearcachetest.StartRedis("")
		if err != nil {
			t.Fatal(err)
		}
		defer redis.Close()
		src := newSource()
		client := newClient(t, nearcache.Config{Redis: redis.PipeOption()})
		if err := client.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		c := newCache(t, client, nearcache.Options[string, string]{Load: src.load})
		h := nearcache.DebugHandler(client)
		for i := range 10 {
			src.put(fmt.Sprint(i), "v")
			resident(t, c, fmt.Sprint(i))
		}
		if nearcache.Watched(c) {
			t.Error("hits are looked at before anybody has asked")
		}
		if _, answer := ask(t, h, "cache=t&hottest=3"); len(answer["keys"].([]any)) != 0 {
			t.Errorf("got %v, want no key: nothing is counted yet", answer)
		}
		for range 400 {
			for i := range 10 {
				for range 1 << i {
					_, _ = c.Get(t.Context(), fmt.Sprint(i))
				}
			}
		}
		_, answer := ask(t, h, "cache=t&hottest=3")
		keys := answer["keys"].([]any)
		if len(keys) != 3 {
			t.Fatalf("got %v, want three keys", answer)
		}
		for i, want := range []string{"9", "8", "7"} {
			k := keys[i].(map[string]any)
			if k["key"] != want || k["tier"] != "l1" || field(k, "l1.version") != 1.0 || k["value"] != nil {
				t.Errorf("got %v in place %d, want the key %s of L1, without its value", k, i, want)
			}
		}
		if share := keys[0].(map[string]any)["share"].(float64); share < 0.4 || share > 0.6 {
			t.Errorf("got the share %v of the hottest key, want about a half", share)
		}
		time.Sleep(59 * time.Second)
		if _, answer := ask(t, h, "cache=t&hottest=1"); answer["counting_seconds"].(float64) < 59 {
			t.Errorf("got %v, want that counting has gone on", answer)
		}
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if nearcache.Watched(c) {
			t.Error("hits are looked at a minute after the last question")
		}
	})
}

func TestDebugHandler_SaysWhatIsWrong(t *testing.T) {
	client := newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption()})
	load := newSource().load
	newCache(t, client, nearcache.Options[string, string]{Load: load})
	if _, err := nearcache.NewCache(client, "hashed", nearcache.Options[string, string]{Load: load,
		EncodeKey: func(k string) string { return "h" + k }}); err != nil {
		t.Fatal(err)
	}
	if _, err := nearcache.NewCache(client, "odd", nearcache.Options[string, string]{Load: load,
		EncodeKey: func(k string) string { return k }, DecodeKey: func(name string) (string, error) {
			switch name {
			case "panics":
				panic("no")
			case "other":
				return "another", nil
			}
			return "", errors.New("not one of ours")
		}}); err != nil {
		t.Fatal(err)
	}
	h := nearcache.DebugHandler(client)
	for _, c := range []struct {
		query  string
		status int
		want   string
	}{
		{"key=a", 400, "cache is missing"},
		{"cache=t&key=a&tier=l2", 400, "tier is l1"},
		{"hottest=5", 400, "cache is missing"},
		{"cache=nosuch&key=a", 404, "hashed, odd, t"},
		{"cache=t", 400, "key or hottest"},
		{"cache=t&hottest=0", 400, "1 to 1000"},
		{"cache=t&hottest=1001", 400, "1 to 1000"},
		{"cache=t&hottest=many", 400, "1 to 1000"},
		{"cache=t&key_base64=!", 400, "not base64"},
		{"cache=hashed&key=ha", 501, "DecodeKey"},
		{"cache=odd&key=x", 400, "not one of ours"},
		{"cache=odd&key=other", 400, "another"},
		{"cache=odd&key=panics", 400, "no"},
	} {
		if status, answer := ask(t, h, c.query); status != c.status || !strings.Contains(fmt.Sprint(answer["error"]),
			c.want) {
			t.Errorf("%s: got %d and %v, want %d and %q", c.query, status, answer, c.status, c.want)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil))
	if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") == "" {
		t.Errorf("POST: got %d, want 405 with the methods", w.Code)
	}
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if status, _ := ask(t, h, ""); status != http.StatusServiceUnavailable {
		t.Errorf("after Close: got %d, want 503", status)
	}
}

// TestDebugHandler_AnswersAFewAtATime: questions that are slow must not pile up in the service that is asked.
func TestDebugHandler_AnswersAFewAtATime(t *testing.T) {
	client := newClient(t, nearcache.Config{Redis: nearcachetest.NewRedis(t).ClientOption()})
	entered, leave := make(chan struct{}), make(chan struct{})
	if _, err := nearcache.NewCache(client, "slow", nearcache.Options[string, string]{Load: newSource().load,
		EncodeKey: func(k string) string { return k }, DecodeKey: func(name string) (string, error) {
			entered <- struct{}{}
			<-leave
			return name, nil
		}}); err != nil {
		t.Fatal(err)
	}
	h := nearcache.DebugHandler(client)
	answered := make(chan int)
	for range 4 {
		go func() {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/?cache=slow&key=a", nil))
			answered <- w.Code
		}()
		<-entered
	}
	if status, _ := ask(t, h, ""); status != http.StatusTooManyRequests {
		t.Errorf("a fifth question: got %d, want 429", status)
	}
	close(leave)
	for range 4 {
		if status := <-answered; status != http.StatusOK {
			t.Errorf("got %d, want 200", status)
		}
	}
	if status, _ := ask(t, h, ""); status != http.StatusOK {
		t.Errorf("after that: got %d, want 200", status)
	}
}

// An operator's listener, apart from the public one, shows what the caches hold.
func ExampleDebugHandler() {
	redis, err := nearcachetest.StartRedis("127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer redis.Close()
	client, err := nearcache.New(nearcache.Config{Redis: redis.ClientOption()})
	if err != nil {
		panic(err)
	}
	defer client.Close()

	authorised := func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer secret" } // yours
	view := nearcache.DebugHandler(client)
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !authorised(r) {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		view.ServeHTTP(w, r)
	}))
	defer admin.Close()

	for _, token := range []string{"", "Bearer secret"} {
		req, err := http.NewRequest(http.MethodGet, admin.URL, nil)
		if err != nil {
			panic(err)
		}
		req.Header.Set("Authorization", token)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			panic(err)
		}
		_ = res.Body.Close()
		fmt.Println(res.StatusCode)
	}
	// Output:
	// 401
	// 200
}
