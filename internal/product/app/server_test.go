package app_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/nearcache/nearcache-go/internal/product/app/apptest"
	"github.com/nearcache/nearcache-go/internal/testkit"
)

// TestServer_DemoOnEmbeddedServices is make demo: three instances, a relay and a worker, with nothing configured.
func TestServer_DemoOnEmbeddedServices(t *testing.T) {
	server := apptest.Start(t, apptest.Unset, "-instances", "3")
	u := server.URLs
	do := func(method, url, body string) (int, string) {
		t.Helper()
		return testkit.HTTP(t, method, url, body)
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
	for _, url := range u {
		testkit.Eventually(t, "every instance serves the new value", func() bool {
			_, body := do("GET", url+"/products/p00042", "")
			return strings.Contains(body, "changed")
		})
	}
	printed := server.Stop()
	for _, url := range u {
		if !strings.Contains(printed, url) {
			t.Errorf("%s is not printed", url)
		}
	}
	if strings.Count(printed, "curl") < 5 {
		t.Error("it does not say what to try")
	}
}

// TestServer_StopsListeningEverywhereAtOnce: an instance took new requests until those of the one before had ended.
func TestServer_StopsListeningEverywhereAtOnce(t *testing.T) {
	server := apptest.Start(t, apptest.Unset, "-instances", "2")
	var addresses []string
	for _, url := range server.URLs {
		addresses = append(addresses, strings.TrimPrefix(url, "http://"))
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
	server.Interrupt()
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
}
