package app_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/internal/product/app"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// TestServer_DemoOnEmbeddedServices is make demo: three instances, a relay and a worker, with nothing configured.
func TestServer_DemoOnEmbeddedServices(t *testing.T) {
	c, err := app.Parse(app.ProductServer, []string{"-instances", "3"}, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	urls := make(chan []string, 1)
	var said strings.Builder
	s := app.Server{Config: c, Logger: slog.New(slog.DiscardHandler), Out: &said, Started: func(u []string) { urls <- u }}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	var u []string
	select {
	case u = <-urls:
	case err := <-ended:
		t.Fatal(err)
	}
	do := func(method, url, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(b)
	}
	if status, body := do("GET", u[2]+"/products?limit=500&after=p00500", ""); status != 200 || strings.Count(body,
		`"id"`) != 500 {
		t.Errorf("%d, %d products after p00500; 1,000 are promised", status, strings.Count(body, `"id"`))
	}
	for _, url := range u {
		if status, body := do("GET", url+"/products/p00042", ""); status != 200 {
			t.Errorf("got the status %d and %s, want 200", status, body)
		}
	}
	if status, body := do("PUT", u[0]+"/products/p00042", `{"name":"changed","price":1}`); status != 200 {
		t.Fatalf("got the status %d and %s, want 200", status, body)
	}
	deadline := time.Now().Add(20 * time.Second)
	for _, url := range u {
		for {
			if _, body := do("GET", url+"/products/p00042", ""); strings.Contains(body, "changed") {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("an instance goes on serving the old value")
			}
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("stopping: %v", err)
	}
	for _, url := range u {
		if !strings.Contains(said.String(), url) {
			t.Errorf("%s is not printed", url)
		}
	}
	if strings.Count(said.String(), "curl") < 5 {
		t.Error("it does not say what to try")
	}
}

// TestServer_StopsListeningEverywhereAtOnce: an instance took new requests until those of the one before had ended.
func TestServer_StopsListeningEverywhereAtOnce(t *testing.T) {
	c, err := app.Parse(app.ProductServer, []string{"-instances", "2"}, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	urls := make(chan []string, 1)
	s := app.Server{Config: c, Logger: slog.New(slog.DiscardHandler), Started: func(u []string) { urls <- u }}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	var addresses []string
	select {
	case u := <-urls:
		for _, s := range u {
			addresses = append(addresses, strings.TrimPrefix(s, "http://"))
		}
	case err := <-ended:
		t.Fatal(err)
	}
	const body = `{"id":"shutdown","name":"x","price":1}`
	slow, err := net.Dial("tcp", addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	in := bufio.NewReader(slow)
	_, _ = fmt.Fprintf(slow, "POST /products HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n",
		len(body))
	if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") { // now it is in flight
		t.Fatal(line, err)
	}
	stop()
	testkit.Eventually(t, "the second instance listens on", func() bool {
		conn, err := net.Dial("tcp", addresses[1])
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	_, _ = io.WriteString(slow, body)
	_, _ = in.ReadString('\n') // the empty line after 100 Continue
	if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, "201 Created") {
		t.Errorf("the request in flight is answered %q, %v; want 201", line, err)
	}
	if err := <-ended; err != nil {
		t.Errorf("stopping: %v", err)
	}
}
