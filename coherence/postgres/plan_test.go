package postgres_test

import (
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
)

// explained is a Source whose statements are explained as they run, and the plans so far.
func explained(t *testing.T, url string) (*postgres.Source, func() string) {
	t.Helper()
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var plans strings.Builder
	cfg.ConnConfig.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		mu.Lock()
		defer mu.Unlock()
		plans.WriteString(n.Message)
	}
	for name, value := range map[string]string{"session_preload_libraries": "auto_explain", "client_min_messages": "log",
		"auto_explain.log_min_duration": "0", "auto_explain.log_nested_statements": "on"} {
		cfg.ConnConfig.RuntimeParams[name] = value
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	src, err := postgres.New(pool, postgres.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(src.Close)
	return src, func() string {
		mu.Lock()
		defer mu.Unlock()
		text := plans.String()
		plans.Reset()
		return text
	}
}

// TestChanges_PlanReadsAnIndexAlone: right after Install the planner does not know how many rows the tables have. If it
// takes meta for hundreds of rows it expects as many outboxes, and compiles the query for as long as a second.
func TestChanges_PlanReadsAnIndexAlone(t *testing.T) {
	_, pool, url := open(t)
	exec1(t, pool, `insert into nearcache.outbox (namespace, key, version, op)
		select 'n', g::text, 1, 'updated' from generate_series(1, 50000) g`)
	src, plans := explained(t, url)
	at, err := src.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	plans()
	for what, after := range map[string]coherence.Position{"all": {}, "none": at} {
		if _, _, err := src.Changes(t.Context(), after, 500); err != nil {
			t.Fatal(err)
		}
		plan := plans()
		if !regexp.MustCompile(`CTE Scan on w .* rows=1 `).MatchString(plan) ||
			!strings.Contains(plan, "Index Scan using outbox_pkey") || strings.Contains(plan, "JIT") {
			t.Errorf("the plan to read %s of the changes:\n%s", what, plan)
		}
	}
}

// TestTrim_PlanReadsNoMoreThanItRemoves: otherwise each step of trimming a day's outbox reads all of it.
func TestTrim_PlanReadsNoMoreThanItRemoves(t *testing.T) {
	_, pool, url := open(t)
	for range 3 { // transactions
		exec1(t, pool, `insert into nearcache.outbox (namespace, key, version, op)
			select 'n', g::text, 1, 'updated' from generate_series(1, 10000) g`)
	}
	src, plans := explained(t, url)
	_, at, err := src.Changes(t.Context(), coherence.Position{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	plans()
	if n, err := src.Trim(t.Context(), at, 0); n != 30000 || err != nil {
		t.Fatalf("Trim = %d, %v", n, err)
	}
	for _, plan := range strings.Split(plans(), "Query Text:") {
		if strings.Contains(plan, "Delete on outbox") && (!strings.Contains(plan, "Tid Scan on outbox") ||
			!strings.Contains(plan, "Scan using outbox_pkey") ||
			strings.Contains(plan, "Sort")) {
			t.Errorf("a plan of Trim:\n%s", plan)
		}
	}
}
