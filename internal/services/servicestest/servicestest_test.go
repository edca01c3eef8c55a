package servicestest_test

import (
	"context"
	"database/sql"
	"net"
	"os"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/segmentio/kafka-go"

	"github.com/nearcache/nearcache-go/internal/services/servicestest"
)

func TestStartRedis_LivesAndDiesWithItsMethods(t *testing.T) {
	t.Parallel()
	r := servicestest.StartRedis(t, "--maxmemory", "3mb")
	if got := r.Do("CONFIG", "GET", "maxmemory"); got != "maxmemory\n3145728" {
		t.Errorf("CONFIG GET maxmemory = %q", got)
	}
	r.Do("SET", "k", "v")
	if got := r.Do("GET", "k"); got != "v" {
		t.Errorf("GET = %q, want v", got)
	}
	if got := r.Do("DEBUG", "SLEEP", "0"); got != "OK" {
		t.Errorf("DEBUG SLEEP = %q", got)
	}

	r.Pause()
	conn, err := net.Dial("tcp", r.Addr)
	if err != nil {
		t.Fatalf("a paused server's port does not accept: %v", err)
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 10)); !os.IsTimeout(err) {
		t.Errorf("a paused server answered: %d bytes, %v", n, err)
	}
	conn.Close()
	r.Resume()
	if got := r.Do("GET", "k"); got != "v" {
		t.Errorf("GET after Resume = %q, want v", got)
	}

	r.Kill()
	if conn, err := net.Dial("tcp", r.Addr); err == nil {
		conn.Close()
		t.Error("a killed server accepts connections")
	}
	addr := r.Addr
	r.Restart()
	if r.Addr != addr || r.Do("GET", "k") != "" {
		t.Errorf("after Restart: address %s (was %s), GET %q", r.Addr, addr, r.Do("GET", "k"))
	}
}

func TestPostgres_GivesEachTestADatabase(t *testing.T) {
	t.Parallel()
	var first string
	t.Run("one", func(t *testing.T) {
		first = servicestest.Postgres(t)
		second := servicestest.Postgres(t)
		if first == second {
			t.Fatal("two calls gave the same database")
		}
		for _, url := range []string{first, second} {
			exec(t, url, "create table only_here (id int)")
		}
	})
	if err := ping(first); err == nil {
		t.Error("the database outlives its test")
	}
}

func TestStartPostgres_KeepsCommitsAcrossKill(t *testing.T) {
	t.Parallel()
	p := servicestest.StartPostgres(t)
	exec(t, p.URL, "create table t (id int)")
	p.Kill()
	if err := ping(p.URL); err == nil {
		t.Error("a killed server answers")
	}
	p.Restart()
	exec(t, p.URL, "insert into t values (1)")
}

func TestKafka_HasNoTopicButTheCreated(t *testing.T) {
	t.Parallel()
	kafkaServes(t, servicestest.Kafka(t)[0])
}

func TestStartKafka_RestartsAfterKill(t *testing.T) {
	t.Parallel()
	k := servicestest.StartKafka(t)
	topic := kafkaServes(t, k.Brokers[0])
	k.Kill()
	k.Restart()
	conn, err := kafka.Dial("tcp", k.Brokers[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if parts, err := conn.ReadPartitions(topic); err != nil || len(parts) != 3 {
		t.Errorf("partitions after Restart: %d, %v; want 3", len(parts), err)
	}
}

// kafkaServes makes a topic, writes to it and reads back, and returns its name.
func kafkaServes(t *testing.T, broker string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	topic := servicestest.Topic(t, []string{broker}, t.Name(), 3)
	leader, err := kafka.DialLeader(ctx, "tcp", broker, topic, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer leader.Close()
	if _, err := leader.WriteMessages(kafka.Message{Value: []byte("hello")}); err != nil {
		t.Fatal(err)
	}
	if err := leader.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if m, err := leader.ReadMessage(100); err != nil || string(m.Value) != "hello" {
		t.Fatalf("read %q, %v", m.Value, err)
	}
	for range 2 { // the first question would create it
		if parts, err := leader.ReadPartitions("misspelt"); err == nil && len(parts) > 0 {
			t.Errorf("a topic that nobody created has %d partitions", len(parts))
		}
	}
	return topic
}

func exec(t *testing.T, url, statement string) {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func ping(url string) error {
	db, err := sql.Open("pgx", url)
	if err != nil {
		return err
	}
	defer db.Close()
	return db.Ping()
}
