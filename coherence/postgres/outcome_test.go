package postgres_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/nearcache/nearcache-go/coherence/postgres"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
)

func TestNotCommitted_ByTheKindOfError(t *testing.T) {
	report := func(severity, code string) error {
		return fmt.Errorf("product: %w", &pgconn.PgError{Severity: "FEHLER", SeverityUnlocalized: severity, Code: code})
	}
	for _, c := range []struct {
		name string
		err  error
		want bool
	}{
		{"none", nil, false},
		{"a unique violation", report("ERROR", "23505"), true},
		{"a serialization failure", report("ERROR", "40001"), true},
		{"a statement timeout", report("ERROR", "57014"), true},
		{"the server is stopped", report("FATAL", "57P01"), false},
		{"completion unknown", report("ERROR", "40003"), false},
		{"resolution unknown", report("ERROR", "08007"), false},
		{"a commit that became a rollback", fmt.Errorf("x: %w", pgx.ErrTxCommitRollback), true},
		{"the driver had no connection, or lost it", driver.ErrBadConn, false},
		{"the connection is closed, or was lost", fmt.Errorf("x: %w", pgconn.ErrConnClosed), false},
		{"the connection was lost", io.ErrUnexpectedEOF, false},
		{"a reset", &net.OpError{Op: "read", Err: errors.New("connection reset by peer")}, false},
		{"the time was over", context.DeadlineExceeded, false},
		{"the transaction was over before", pgx.ErrTxClosed, false},
		{"something else", errors.New("something else"), false},
	} {
		if got := postgres.NotCommitted(c.err); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestNotCommitted_OfRealErrors has them made by pgx: a refused connection, a closed pool, and a real server.
func TestNotCommitted_OfRealErrors(t *testing.T) {
	ctx := t.Context()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	refused, err := pgxpool.New(ctx, "postgres://u:secret@"+closed.Addr().String()+"/d")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := refused.Begin(ctx); !postgres.NotCommitted(err) {
		t.Errorf("a refused connection: %v", err)
	}
	refused.Close()
	if _, err := refused.Begin(ctx); !postgres.NotCommitted(err) {
		t.Errorf("a closed pool: %v", err)
	}

	pool, err := pgxpool.New(ctx, servicestest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if _, err := pool.Exec(ctx, `create table t (id int primary key, v int check (v > 0),
		other int references t deferrable initially deferred)`); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{`insert into t values (1, -1)`, `insert into t values (1, 1, 7)`, `nonsense`} {
		err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, statement)
			return err
		})
		if !postgres.NotCommitted(err) {
			t.Errorf("%s: got error %v, want one that says the transaction is not committed", statement, err)
		}
	}
	lost := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		_, _ = tx.Exec(ctx, `select pg_terminate_backend(pg_backend_pid())`)
		return tx.Commit(ctx)
	})
	if lost == nil {
		t.Error("the commit on a connection that is gone succeeded")
	}
}

// TestNotCommitted_CommitNotAnswered: the server takes a commit, or a statement that commits by itself, and the
// connection breaks before the answer. pgx says "conn closed", as it does of a connection that was closed before.
func TestNotCommitted_CommitNotAnswered(t *testing.T) {
	ctx := t.Context()
	for name, write := range map[string]func(url string) error{
		"pgx": func(url string) error {
			conn, err := pgx.Connect(ctx, url)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close(ctx)
			tx, err := conn.Begin(ctx)
			if err != nil {
				t.Fatal(err)
			}
			return tx.Commit(ctx)
		},
		"database/sql": func(url string) error {
			db, err := sql.Open("pgx", url)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			return tx.Commit()
		},
		"database/sql, without a transaction": func(url string) error {
			db, err := sql.Open("pgx", url)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			_, err = db.ExecContext(ctx, "update t set v = 1")
			return err
		},
	} {
		if err := write(losesAnswers(t)); err == nil || postgres.NotCommitted(err) {
			t.Errorf("%s: got error %v, want one that proves nothing", name, err)
		}
	}
}

// losesAnswers starts a server that begins transactions, and closes the connection when it has read another statement.
func losesAnswers(t *testing.T) (url string) {
	t.Helper()
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listen.Close() })
	go func() {
		for {
			conn, err := listen.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = untilStatement(pgproto3.NewBackend(conn, conn)) // a request to cancel ends it too
			}()
		}
	}()
	return "postgres://u@" + listen.Addr().String() + "/d?sslmode=disable"
}

// untilStatement answers as a server does, until a statement comes that does not begin a transaction.
func untilStatement(server *pgproto3.Backend) error {
	if _, err := server.ReceiveStartupMessage(); err != nil {
		return err
	}
	server.Send(&pgproto3.AuthenticationOk{})
	server.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	for {
		if err := server.Flush(); err != nil {
			return err
		}
		m, err := server.Receive()
		if err != nil {
			return err
		}
		if q, ok := m.(*pgproto3.Query); !ok || q.String != "begin" {
			return nil
		}
		server.Send(&pgproto3.CommandComplete{CommandTag: []byte("BEGIN")})
		server.Send(&pgproto3.ReadyForQuery{TxStatus: 'T'})
	}
}
