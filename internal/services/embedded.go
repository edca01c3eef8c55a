// Package services has what the demo runs on when nothing is configured: an in-process Redis with tracking, an
// in-process Kafka, and SQLite. Real ones for tests are in services/servicestest.
package services

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver of OpenSQLite

	"github.com/nearcache/nearcache-go/nearcache/nearcachetest"
)

// Embedded are the in-process services. Close them.
type Embedded struct {
	RedisAddr string
	Brokers   []string
	DB        *sql.DB

	redis *nearcachetest.Redis
	kafka *nearcachetest.Kafka
	dir   string
}

// StartEmbedded starts all of them on free ports of the loopback interface, with an empty database in a temporary
// folder.
func StartEmbedded(partitions int, topics ...string) (e *Embedded, err error) {
	e = &Embedded{}
	defer func() {
		if err != nil {
			err = errors.Join(err, e.Close())
		}
	}()
	if e.redis, err = nearcachetest.StartRedis("127.0.0.1:0"); err != nil {
		return e, err
	}
	e.RedisAddr = e.redis.Addr()
	if e.kafka, err = nearcachetest.StartKafka(partitions, topics...); err != nil {
		return e, err
	}
	e.Brokers = e.kafka.Brokers()
	if e.dir, err = os.MkdirTemp("", "nearcache-demo-"); err != nil {
		return e, err
	}
	e.DB, err = OpenSQLite(filepath.Join(e.dir, "products.db"))
	return e, err
}

// FlushRedis removes every key of Redis.
func (e *Embedded) FlushRedis() { e.redis.Do("FLUSHALL") }

// OpenSQLite opens a database file, with several readers beside a writer.
func OpenSQLite(path string) (*sql.DB, error) {
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(),
		RawQuery: url.Values{"_pragma": {"busy_timeout(5000)",
			"journal_mode(WAL)", "synchronous(NORMAL)"}, "_txlock": {"immediate"}}.Encode()}
	db, err := sql.Open("sqlite", u.String())
	if err != nil {
		return nil, fmt.Errorf("services: sqlite: %w", err)
	}
	db.SetMaxOpenConns(8)
	if err := db.Ping(); err != nil {
		return nil, errors.Join(fmt.Errorf("services: sqlite %s: %w", path, err), db.Close())
	}
	return db, nil
}

// Close stops everything that was started, and removes the database.
func (e *Embedded) Close() (err error) {
	if e.DB != nil {
		err = e.DB.Close()
	}
	if e.kafka != nil {
		e.kafka.Close()
	}
	if e.redis != nil {
		e.redis.Close()
	}
	if e.dir != "" {
		err = errors.Join(err, os.RemoveAll(e.dir))
	}
	return err
}
