package app

import (
	"errors"
	"log/slog"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/nearcache/nearcache-go/internal/testkit"
	"github.com/nearcache/nearcache-go/nearcache"
)

// serve runs a server over embedded services and returns its first instance.
func serve(t *testing.T, settings ...string) *instance {
	t.Helper()
	c, err := Parse(ProductServer, settings, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Config: c, Logger: slog.New(slog.DiscardHandler)}
	b, err := open(t.Context(), &s.Config, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.close)
	prepared := make(chan struct{})
	b.seed = 10
	b.prepare(t.Context(), s.Logger)
	close(prepared)
	in, err := s.start(b, nil, 0, prepared)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() { defer close(served); in.serve(s.Logger) }()
	t.Cleanup(func() {
		_ = in.http.Close()
		<-served
		if err := in.close(); err != nil {
			t.Error(err)
		}
	})
	return in
}

func (in *instance) apiURL() string { return "http://" + in.listen.Addr().String() }

// forOperators are the paths that the public has no business with.
var forOperators = map[string]string{"/metrics": "nearcache_build_info", "/status": `"mode":"on"`,
	"/cache": `"mode":"on"`, "/mode": "on", "/debug/pprof/": "goroutine", "/debug/pprof/cmdline": "app"}

func TestAdmin_IsNotOnTheAddressOfTheAPI(t *testing.T) {
	in := serve(t)
	for path, has := range forOperators {
		if status, _ := testkit.HTTP(t, "GET", in.apiURL()+path, ""); status != http.StatusNotFound {
			t.Errorf("%s is answered with %d on the API's address, want 404", path, status)
		}
		status, body := testkit.HTTP(t, "GET", in.adminURL()+path, "")
		if status != http.StatusOK || !strings.Contains(body, has) {
			t.Errorf("%s is answered with %d to operators, want 200 with %q: %.300s", path, status, has, body)
		}
	}
	for _, url := range []string{in.apiURL(), in.adminURL()} {
		if status, _ := testkit.HTTP(t, "GET", url+"/healthz", ""); status != http.StatusOK {
			t.Errorf("the probe at %s is answered with %d", url, status)
		}
	}
	if status, _ := testkit.HTTP(t, "GET", in.adminURL()+"/products", ""); status != http.StatusNotFound {
		t.Errorf("products are served to operators, with %d", status)
	}
}

func TestAdmin_IsOnTheAddressOfTheAPIIfAskedFor(t *testing.T) {
	in := serve(t, "-admin-listen", "api")
	for path, has := range forOperators {
		status, body := testkit.HTTP(t, "GET", in.apiURL()+path, "")
		if status != http.StatusOK || !strings.Contains(body, has) {
			t.Errorf("%s is answered with %d, want 200 with %q: %.300s", path, status, has, body)
		}
	}
}

func TestAdmin_SwitchesTheMode(t *testing.T) {
	in := serve(t)
	for _, c := range []struct {
		body   string
		status int
		mode   nearcache.Mode
	}{
		{"shadow\n", 200, nearcache.ModeShadow}, {"off", 200, nearcache.ModeOff}, {"sideways", 400, nearcache.ModeOff},
		{strings.Repeat("o", 100), 400, nearcache.ModeOff}, {"on", 200, nearcache.ModeOn},
	} {
		status, body := testkit.HTTP(t, "PUT", in.adminURL()+"/mode", c.body)
		if status != c.status || in.client.Mode() != c.mode {
			t.Errorf("PUT of %.20q: %d, %s; the mode is %v; want %d and %v", c.body, status, body, in.client.Mode(),
				c.status, c.mode)
		}
	}
}

// TestAdmin_MetricsKeepPrometheusRules lints what a server that has worked exports, by the rules of promtool.
func TestAdmin_MetricsKeepPrometheusRules(t *testing.T) {
	in := serve(t)
	for range 3 {
		if status, body := testkit.HTTP(t, "GET", in.apiURL()+"/products/p00002", ""); status != http.StatusOK {
			t.Fatal(status, body)
		}
	}
	status, body := testkit.HTTP(t, "PUT", in.apiURL()+"/products/p00002", `{"name":"x","price":1}`)
	if status != http.StatusOK {
		t.Fatal(status, body)
	}
	_, text := testkit.HTTP(t, "GET", in.adminURL()+"/metrics", "")
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "nearcache_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil || len(families) < 40 {
		t.Errorf("%d families, error %v", len(families), err)
	}
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed")
	}
	cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil && strings.Contains(string(out), "nearcache_") {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

func TestParse_TheAdminListenerAndKafkasSecurity(t *testing.T) {
	for flag, want := range map[string]string{"-admin-listen=nowhere": "ADMIN_LISTEN_ADDR",
		"-admin-listen=":      "ADMIN_LISTEN_ADDR",
		"-kafka-protocol=TLS": "KAFKA_SECURITY_PROTOCOL", "-kafka-password=hunter2": "SASL_SSL"} {
		_, err := Parse(ProductServer, []string{flag}, func(string) string { return "" })
		if !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got error %v, want one of usage that names %s", flag, err, want)
		}
	}
}
