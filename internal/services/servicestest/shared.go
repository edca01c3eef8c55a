package servicestest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"

	"github.com/nearcache/nearcache-go/internal/services/local"
)

// shared is the value of NEARCACHE_TEST_<name>. Without one the test skips, in words that internal/tools/gotest looks
// for.
func shared(t testing.TB, name string) string {
	t.Helper()
	variable := "NEARCACHE_TEST_" + strings.ToUpper(name)
	value := os.Getenv(variable)
	if value == "" {
		t.Skipf("needs a real %s: set %s, or run make test", name, variable)
	}
	return value
}

// Unique is prefix and something that no other test, in this run or another on the same server, has: for key prefixes,
// topics and consumer groups. Letters, digits and "-" only, as far as the prefix has no others.
func Unique(prefix string) string { return prefix + "-" + strings.ToLower(rand.Text()[:12]) }

// Redis is the address, host:port, of a real Redis that all tests share: use keys with a prefix of the test's own,
// and never flush it. The test skips where there is none.
func Redis(t testing.TB) string {
	t.Helper()
	return shared(t, "Redis")
}

// Kafka are the bootstrap servers, host:port, of a real Kafka that all tests share: use topics and groups of the
// test's own, and create the topics, since the broker does not make them on first use. The test skips where there is
// none.
func Kafka(t testing.TB) []string {
	t.Helper()
	return strings.Split(shared(t, "Kafka"), ",")
}

// Postgres makes an empty database for the test on a real PostgreSQL that all tests share, and returns its URL for a
// superuser. It is dropped when the test ends, whoever is still connected. The test skips where there is none.
func Postgres(t testing.TB) string {
	t.Helper()
	admin := shared(t, "Postgres")
	return newDatabase(t, admin)
}

// newDatabase makes a database on the server at admin and has it dropped at the end of the test.
func newDatabase(t testing.TB, admin string) string {
	t.Helper()
	address, err := url.Parse(admin)
	if err != nil {
		t.Fatalf("servicestest: the URL of PostgreSQL: %v", err)
	}
	name := strings.ReplaceAll(Unique("test"), "-", "_")
	if err := execute(admin, "create database "+name); err != nil {
		t.Fatalf("servicestest: make a database: %v", err)
	}
	t.Cleanup(func() {
		if err := execute(admin, "drop database "+name+" with (force)"); err != nil {
			t.Logf("servicestest: drop the database: %v", err)
		}
	})
	address.Path = "/" + name
	return address.String()
}

// execute runs one statement over a connection of its own.
func execute(address, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	_, err = conn.Exec(ctx, sql)
	return err
}

// MariaDB makes an empty database for the test on a real MariaDB that all tests share, and returns a data source name
// of github.com/go-sql-driver/mysql for an account with all rights. It is dropped when the test ends. The test skips
// where there is none.
func MariaDB(t testing.TB) (dsn, database string) {
	t.Helper()
	cfg, err := mysql.ParseDSN(shared(t, "MariaDB"))
	if err != nil {
		t.Fatalf("servicestest: the data source name of MariaDB: %v", err)
	}
	admin, err := sql.Open("mysql", cfg.FormatDSN())
	if err != nil {
		t.Fatalf("servicestest: %v", err)
	}
	database = strings.ReplaceAll(Unique("test"), "-", "_")
	if _, err := admin.Exec("create database " + database); err != nil {
		t.Fatalf("servicestest: make a database: %v", err)
	}
	t.Cleanup(func() {
		if _, err := admin.Exec("drop database " + database); err != nil {
			t.Logf("servicestest: drop the database: %v", err)
		}
		_ = admin.Close()
	})
	cfg.DBName = database
	return cfg.FormatDSN(), database
}

// RedisDo sends one command to the Redis at addr, as redis-cli does, over a connection of its own and returns the
// reply as text: a nil as "", the elements of an array on a line each. An error reply fails the test.
func RedisDo(t testing.TB, addr string, args ...string) string {
	t.Helper()
	reply, err := local.RedisDo(context.Background(), addr, args...)
	if err != nil {
		t.Fatalf("servicestest: %v", err)
	}
	return reply
}
