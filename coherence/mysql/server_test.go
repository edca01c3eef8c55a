package mysql_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/mysql"
	"github.com/nearcache/nearcache-go/internal/services/servicestest"
)

// TestPosition_ARestartBeginsATimeline: InnoDB may lose in a crash what others have seen.
func TestPosition_ARestartBeginsATimeline(t *testing.T) {
	t.Parallel()
	server := servicestest.StartMariaDB(t)
	db := openDB(t, server.DSN)
	src, err := mysql.New(db, mysql.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if err := src.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := src.BumpKey(t.Context(), "n", "k"); err != nil {
		t.Fatal(err)
	}
	before, err := src.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if again, err := src.Position(t.Context()); err != nil || again != before {
		t.Errorf("Position = %v, %v, want %v again", again, err, before)
	}
	server.Kill()
	if _, err := src.Position(t.Context()); err == nil || errors.Is(err, coherence.ErrMisconfigured) {
		t.Errorf("Position of a dead server = %v, want an error that passes by waiting", err)
	}
	server.Restart()
	after, err := src.Position(t.Context())
	if err != nil || after.Timeline == before.Timeline || after.N != before.N {
		t.Errorf("after the restart Position = %v, %v, want %v in another timeline", after, err, before)
	}
	if _, _, err := src.Changes(t.Context(), before, 10); !errors.Is(err, coherence.ErrTrimmed) {
		t.Errorf("Changes from before the restart = %v, want ErrTrimmed", err)
	}
	if _, err := db.Exec(`set global read_only = on`); err != nil {
		t.Fatal(err)
	}
	if _, err := src.Position(t.Context()); err == nil || !strings.Contains(err.Error(), "read only") {
		t.Errorf("Position of a server that is read only = %v, want a refusal", err)
	}
}

func TestSource_RefusesDirtyReads(t *testing.T) {
	t.Parallel()
	b := open(t)
	name := "tx_isolation"
	if b.mysql != "" {
		name = "transaction_isolation"
	}
	src := b.another(t, openDB(t, b.dsn+"?"+name+"=%27READ-UNCOMMITTED%27"))
	if _, err := src.Position(t.Context()); !errors.Is(err, mysql.ErrUnsupported) ||
		!errors.Is(err, coherence.ErrMisconfigured) {
		t.Errorf("Position = %v, want ErrUnsupported", err)
	}
}

// TestInstallSQL_IsWhatInstallRuns runs the statements as the mysql client does.
func TestInstallSQL_IsWhatInstallRuns(t *testing.T) {
	t.Parallel()
	b := open(t)
	src, err := mysql.New(b.db, mysql.Config{Database: b.name + "2"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = b.db.Exec("drop database if exists " + b.name + "2") })
	text := src.InstallSQL(t.Context())
	head, rest, ok := strings.Cut(text, "delimiter //\n")
	body, tail, ok2 := strings.Cut(rest, "delimiter ;\n")
	if !ok || !ok2 {
		t.Fatalf("no delimiters in %s", text)
	}
	b.exec(t, strings.TrimSuffix(strings.TrimSpace(head), ";"))
	b.exec(t, strings.Split(strings.TrimSuffix(body, "//\n"), "//\n")...)
	b.exec(t, strings.TrimSuffix(strings.TrimSpace(tail), ";"))
	if err := src.Install(t.Context()); err != nil { // has nothing left to do
		t.Fatal(err)
	}
	if v, err := src.BumpKey(t.Context(), "n", "k"); err != nil || v == 0 {
		t.Errorf("BumpKey = %d, %v", v, err)
	}
	own, err := b.Identity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if id, err := src.Identity(t.Context()); err != nil || id == "" || id == own {
		t.Errorf("Identity = %q, %v, want a name that is not %q", id, err, own)
	}
}

var errLease = errors.New("the lease was not given back")

// duty is everything that an account of a purpose does, by what it is called.
func (b *bench) duty(ctx context.Context, purpose mysql.Purpose, src *mysql.Source, db *sql.DB) error {
	counts := func() error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		_, err = src.Bump(ctx, tx, "n", "k", coherence.OpUpdated)
		return err
	}
	if purpose == mysql.ForBumper {
		return counts()
	}
	position, atPosition := src.Position(ctx)
	_, atCheck := src.Check(ctx)
	if purpose == mysql.ForInstance {
		_, atVersion := src.Version(ctx, "n", "k")
		return errors.Join(atPosition, atCheck, atVersion, counts())
	}
	_, _, atChanges := src.Changes(ctx, coherence.Position{}, 5)
	_, atEstimate := src.EstimateBacklog(ctx, coherence.Position{})
	atSave := src.SaveCursor(ctx, "r", coherence.Cursor{Position: position})
	_, atLoad := src.LoadCursor(ctx, "r")
	_, atIdentity := src.Identity(ctx)
	_, release, atLead := src.Lead(ctx, "r")
	if atLead == nil {
		release()
		var left int
		err := b.db.QueryRowContext(ctx, `select count(*) from `+b.name+`.leaders where holder <> ''`).Scan(&left)
		if err != nil || left > 0 {
			atLead = errors.Join(err, errLease)
		}
	}
	_, atTrim := src.Trim(ctx, position, 0)
	return errors.Join(atPosition, atCheck, atChanges, atEstimate, atSave, atLoad, atIdentity, atLead, atTrim)
}

var granted = regexp.MustCompile(`^grant (.*) on (procedure )?(\S+) to (.*)$`)

// TestGrantSQL_IsWhatEachAccountNeeds: with all rights of a purpose an account can do its work, and without any one of
// them it cannot.
func TestGrantSQL_IsWhatEachAccountNeeds(t *testing.T) {
	t.Parallel()
	for _, purpose := range []mysql.Purpose{mysql.ForInstance, mysql.ForRelay, mysql.ForBumper} {
		t.Run(string(purpose), func(t *testing.T) {
			t.Parallel()
			b := open(t)
			user := b.name[len("test_"):len("test_")+8] + string(purpose)[:2]
			account := "'" + user + "'@'%'"
			b.exec(t, "create user "+account)
			t.Cleanup(func() { _, _ = b.db.Exec("drop user " + account) })
			statements, err := b.GrantSQL(purpose, account)
			if err != nil {
				t.Fatal(err)
			}
			b.exec(t, statements...)
			address := b.dsn[strings.Index(b.dsn, "@"):strings.LastIndex(b.dsn, "/")]
			db := openDB(t, user+address+"/")
			try := func(what string) error {
				b.manyDeleted(t)
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				// A server that was just started, so that note_boot is needed too.
				b.exec(t, `delete from `+b.name+`.boot`, `delete from `+b.name+`.cursors`, `delete from `+b.name+`.leaders`)
				err := b.duty(ctx, purpose, b.another(t, db), db)
				if errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%s: %v", what, err)
				}
				return err
			}
			if err := try("all rights"); err != nil {
				t.Fatalf("with all its rights: %v", err)
			}
			for _, s := range statements {
				m := granted.FindStringSubmatch(s)
				for _, right := range strings.Split(m[1], ", ") {
					on := right + " on " + m[2] + m[3]
					b.exec(t, fmt.Sprintf("revoke %s from %s", on, m[4]))
					if err := try(on); err == nil {
						t.Errorf("without %s it can do its work: the right is not needed", on)
					} else if !errors.Is(err, coherence.ErrMisconfigured) && !errors.Is(err, errLease) {
						t.Errorf("without %s: %v, want an error that says that a right is missing", on, err)
					}
					b.exec(t, fmt.Sprintf("grant %s to %s", on, m[4]))
				}
			}
		})
	}
}

// manyDeleted leaves enough deleted keys that Trim has version rows to remove, one connection that is forgotten, and a
// table that is checked.
func (b *bench) manyDeleted(t *testing.T) {
	t.Helper()
	b.exec(t, `insert into `+b.name+`.versions
		with recursive s (n) as (select 1 union all select n + 1 from s where n < 1000)
		select 'gone', n, 1, 1 from s on duplicate key update version = 1`, `insert into `+b.name+`.floors values ('gone', 1)
		on duplicate key update floor = 1`,
		`insert into `+b.name+`.writers values (1, 1, 0, '2000-01-01') on duplicate key update at = '2000-01-01'`)
	b.exec(t, `insert ignore into `+b.name+`.triggers values ('`+b.name+`', 'meta', 'n', 'insert', 'none', '[]', '')`)
	if _, err := b.BumpKey(t.Context(), "n", "k"); err != nil {
		t.Fatal(err)
	}
}

// TestTrim_RaisesTheFloorAboveWhatItRemoves: a deleted key that is forgotten does not look older than before, and its
// next version is larger.
func TestTrim_RaisesTheFloorAboveWhatItRemoves(t *testing.T) {
	t.Parallel()
	b := open(t)
	if _, err := b.BumpKey(t.Context(), "gone", "7"); err != nil {
		t.Fatal(err)
	}
	b.manyDeleted(t)
	open := b.begin(t)
	inOpen := b.bump(t, open, "open")
	last, err := b.BumpKey(t.Context(), "n", "k")
	if err != nil {
		t.Fatal(err)
	}
	// This one was deleted later than the open transaction began.
	b.exec(t, fmt.Sprintf(`update %s.versions set version = %d where namespace = 'gone' and k = '8'`, b.name, last))
	_, upto := b.read(t, coherence.Position{}, 10)
	if _, err := b.Trim(t.Context(), upto, time.Hour); err != nil {
		t.Fatal(err)
	}
	floor, err := b.Version(t.Context(), "gone", "9")
	if err != nil || uint64(floor) >= inOpen || floor == 0 {
		t.Errorf("the floor is %d, %v, want one below the open transaction's id %d", floor, err, inOpen)
	}
	if v, err := b.Version(t.Context(), "gone", "8"); err != nil || v != last {
		t.Errorf("a key that was deleted later has version %d, %v, want %d", v, err, last)
	}
	if next, err := b.BumpKey(t.Context(), "gone", "9"); err != nil || next <= floor {
		t.Errorf("the next version is %d, %v, want more than the floor %d", next, err, floor)
	}
}

// TestSaveCursor_RefusesAnEarlierLeader, also in another timeline, where positions say nothing.
func TestSaveCursor_RefusesAnEarlierLeader(t *testing.T) {
	t.Parallel()
	b := open(t)
	second := b.another(t, openDB(t, b.dsn))
	cursor := func(timeline, n uint64) coherence.Cursor {
		return coherence.Cursor{Position: coherence.Position{Timeline: timeline, N: n}, Seqs: []uint64{n}}
	}
	_, release, err := b.Lead(t.Context(), "relay")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.SaveCursor(t.Context(), "relay", cursor(1, 5)); err != nil {
		t.Fatal(err)
	}
	if err := b.depose(t.Context(), "relay"); err != nil {
		t.Fatal(err)
	}
	_, next, err := second.Lead(t.Context(), "relay")
	if err != nil {
		t.Fatal(err)
	}
	for _, late := range []coherence.Cursor{cursor(1, 9), cursor(2, 1)} {
		if err := b.SaveCursor(t.Context(), "relay", late); err == nil {
			t.Errorf("an earlier leader saved %v", late.Position)
		}
	}
	if err := second.SaveCursor(t.Context(), "relay", cursor(1, 6)); err != nil {
		t.Error(err)
	}
	release()
	next()
	if got, err := second.LoadCursor(t.Context(), "relay"); err != nil || got.Position != cursor(1, 6).Position {
		t.Errorf("the cursor is %+v, %v", got, err)
	}
}
