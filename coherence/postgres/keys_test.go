package postgres_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
)

// odd are settings of a session under which Postgres writes values in another way than by default.
var odd = []string{`set timezone = 'Asia/Kolkata'`, `set datestyle = 'German, DMY'`, `set bytea_output = 'escape'`,
	`set extra_float_digits = -15`, `set intervalstyle = 'iso_8601'`, `set standard_conforming_strings = off`,
	`set client_encoding = 'LATIN1'`, `set search_path = pg_temp, public`, `set xmlbinary = 'hex'`,
	`set default_transaction_isolation = 'serializable'`}

// TestTrigger_KeysUnderEverySetting: a key has one text, whichever session writes it, and in each of the ways in which
// a change is counted: a statement for one row, for several, a session in the replica role, a truncate.
func TestTrigger_KeysUnderEverySetting(t *testing.T) {
	src, pool, _ := open(t)
	exec1(t, pool, `create type mood as enum ('Sad', 'so: happy')`)
	exec1(t, pool, `create domain code as char(5)`)
	exec1(t, pool, `create domain money_amount as numeric(10,2)`)
	exec1(t, pool, `create domain day as timestamptz`)
	for i, c := range []struct{ kind, a, b, wantA, wantB string }{
		{"smallint", "7", "-32768", "7", "-32768"},
		{"bigint", "9007199254740993", "-1", "9007199254740993", "-1"},
		{"text collate \"C\"", "U&'\\00e9'", "'E'", "é", "E"},
		{"text", "'é'", "' a '", "é", " a "},
		{"varchar(5)", "'a '", "'a'", "a ", "a"},
		{"char(5)", "'a  '", "'b'", "a", "b"},
		{"code", "'a  '", "'b'", "a", "b"},
		{"name", "'A'", "'a'", "A", "a"},
		{"uuid", "'{A0EEBC999C0B4EF8BB6D6BB9BD380A11}'", "'00000000-0000-0000-0000-000000000001'",
			"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "00000000-0000-0000-0000-000000000001"},
		{"bytea", "'\\x00FF'", "''", `\x00ff`, `\x`},
		{"mood", "'Sad'", "'so: happy'", "Sad", "so: happy"},
		{"boolean", "'yes'", "'0'", "true", "false"},
		{"numeric(10,2)", "1.5", "-0.004", "1.50", "0.00"},
		{"money_amount", "1", "2.345", "1.00", "2.35"},
		{"numeric", "1.500", "1e3", "1.5", "1000"},
		{"numeric", "'NaN'", "0.000", "NaN", "0"},
		{"date", "'2026-01-31'", "'infinity'", "2026-01-31", "infinity"},
		{"date", "'0044-03-15 BC'", "'12026-01-01'", "0044-03-15 BC", "12026-01-01"},
		{"timestamp", "'2026-01-01 00:00:00.5'", "'2026-01-01'", "2026-01-01 00:00:00.5", "2026-01-01 00:00:00"},
		{"timestamp(0)", "'2026-01-01 00:00:00.6'", "'2026-01-01'", "2026-01-01 00:00:01", "2026-01-01 00:00:00"},
		{"timestamptz", "'2026-01-01 00:00:00.25+05:30'", "'-infinity'", "2025-12-31 18:30:00.25+00", "-infinity"},
		{"day", "'2026-07-01 12:00:00+02'", "'2026-07-01 12:00:00+00'", "2026-07-01 10:00:00+00",
			"2026-07-01 12:00:00+00"},
		{"macaddr", "'08-00-2B-01-02-03'", "'0800.2b01.0204'", "08:00:2b:01:02:03", "08:00:2b:01:02:04"},
	} {
		for _, settings := range [][]string{nil, odd} {
			table, ns := fmt.Sprintf("t%d_%d", i, len(settings)), fmt.Sprintf("n%d_%d", i, len(settings))
			exec1(t, pool, fmt.Sprintf(`create table %s (k %s not null primary key, v int)`, table, c.kind))
			install(t, src, postgres.Trigger{Table: table, Namespace: ns, KeyColumns: []string{"k"}})
			writeUnder(t, pool, settings, table, c.kind, c.a, c.b)
			changes(t, src, coherence.Position{}) // settled
			events, _, err := src.Changes(t.Context(), coherence.Position{}, 100_000)
			if err != nil {
				t.Fatal(err)
			}
			counted := map[string]int{}
			for _, e := range events {
				if e.Namespace == ns {
					counted[e.Key]++
				}
			}
			if len(counted) != 2 || counted[c.wantA] != 4 || counted[c.wantB] != 4 {
				t.Errorf("%s with %d settings: counted %v, want %q and %q four times each", c.kind, len(settings), counted,
					c.wantA, c.wantB)
			}
		}
	}
}

// writeUnder inserts the rows of two keys, changes them in each way, and truncates the table, under a session's
// settings. The values are put in under the usual ones, since what a text means may depend on settings.
func writeUnder(t *testing.T, pool *pgxpool.Pool, settings []string, table, kind, a, b string) {
	t.Helper()
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for _, sql := range slices.Concat(
		[]string{fmt.Sprintf(`create temp table given as select (%s)::%s as a, (%s)::%s as b`, a, kind, b, kind)},
		settings,
		[]string{
			fmt.Sprintf(`insert into %s select a, 1 from given`, table),
			fmt.Sprintf(`insert into %s select b, 1 from given`, table),
			fmt.Sprintf(`update %s set v = 2`, table),
			`set session_replication_role = replica`,
			fmt.Sprintf(`update %s set v = 3`, table),
			`set session_replication_role = origin`,
			`truncate ` + table,
			`drop table pg_temp.given`,
			`reset all`,
		}) {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %s: got error %v, want none", kind, sql, err)
		}
	}
}

// TestTrigger_CompositeKeysUnderEverySetting: where a backslash in a literal is an escape, too.
func TestTrigger_CompositeKeysUnderEverySetting(t *testing.T) {
	src, pool, _ := open(t)
	exec1(t, pool, `create table lines (a text, b bytea, primary key (a, b))`)
	install(t, src, on("lines", "a", "b"))
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for _, sql := range append(slices.Clone(odd), `insert into lines select chr(92) || 'x:y', decode('00', 'hex')`,
		`reset all`) {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: got error %v, want none", sql, err)
		}
	}
	wantChanges(t, src, "n", coherence.CompositeKey(`\x:y`, `\x00`)+" 1 created")
}

// TestInstallTrigger_RefusesKeysWithSeveralTexts by name, also inside a domain and as a part of a key.
func TestInstallTrigger_RefusesKeysWithSeveralTexts(t *testing.T) {
	src, pool, _ := open(t)
	exec1(t, pool, `create extension if not exists citext`)
	exec1(t, pool, `create collation any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`)
	exec1(t, pool, `create domain email as citext`)
	exec1(t, pool, `create domain any_text as text collate any_case`)
	exec1(t, pool, `create domain ratio as real`)
	exec1(t, pool, `create type pair as (a int, b text)`)
	for i, kind := range []string{"citext", "email", "any_text", "text collate any_case", "varchar(9) collate any_case",
		"real", "double precision", "ratio", "interval", "time", "timetz", "money", "json", "jsonb", "xml", "int[]",
		"text[]", "int4range", "inet", "cidr", "bit(3)", "varbit", "pair", `"char"`, "tsvector", "point", "pg_lsn"} {
		table := fmt.Sprintf("r%d", i)
		exec1(t, pool, fmt.Sprintf(`create table %s (id int not null, k %s not null)`, table, kind))
		for _, keys := range [][]string{{"k"}, {"id", "k"}} {
			err := src.InstallTrigger(t.Context(), postgres.Trigger{Table: table, Namespace: "n", KeyColumns: keys,
				SharedKeys: true})
			if err == nil || !strings.Contains(err.Error(), "may be written in several ways") ||
				!strings.Contains(err.Error(), table+".k") {
				t.Errorf("%s in the key %v: %v, want it refused by name", kind, keys, err)
			}
		}
	}
}

// TestCheck_FindsACollationThatEqualsTexts: the column had another one when the trigger was installed.
func TestCheck_FindsACollationThatEqualsTexts(t *testing.T) {
	src, pool, _ := open(t)
	exec1(t, pool, `create collation any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`)
	exec1(t, pool, `create table products (id text primary key, name text)`)
	install(t, src, on("products", "id"))
	wantFindings(t, src)
	exec1(t, pool, `alter table products alter column name type text collate any_case`) // no key
	wantFindings(t, src)
	exec1(t, pool, `alter table products alter column id type text collate any_case`)
	wantFindings(t, src, coherence.FindingKeyColumnChanged)
}

// TestKeys_OneSpellingIsRead: Postgres finds a row by many spellings of its key, and the trigger counts one. The
// statement of the guide finds the row by that one alone, so no other is cached with the row's value.
func TestKeys_OneSpellingIsRead(t *testing.T) {
	src, pool, _ := open(t)
	for i, c := range []struct {
		kind, key string
		others    []string
	}{
		{"bigint", "42", []string{"042", " 42", "+42", "42 "}},
		{"uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", []string{"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
			"{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}", "a0eebc999c0b4ef8bb6d6bb9bd380a11"}},
		{"char(5)", "ab", []string{"ab ", "ab   "}},
		{"boolean", "true", []string{"t", "yes", "1", "TRUE", " on "}},
		{"numeric(10,2)", "1.50", []string{"1.5", "1.500", "01.50", "15e-1"}},
	} {
		table, ns := fmt.Sprint("t", i), fmt.Sprint("n", i)
		exec1(t, pool, fmt.Sprintf(`create table %s (k %s primary key, v int)`, table, c.kind))
		install(t, src, postgres.Trigger{Table: table, Namespace: ns, KeyColumns: []string{"k"}})
		exec1(t, pool, fmt.Sprintf(`insert into %s values ('%s', 1)`, table, c.key))
		for _, key := range append(slices.Clone(c.others), c.key) {
			row := func(guard string) (version coherence.Version, found bool) {
				var v *int
				err := pool.QueryRow(t.Context(), fmt.Sprintf(`select %s, p.v from (select) one left join %s p
					on p.k = $1::text::%s %s`, src.VersionSQL("'"+ns+"'", "$1"), table, c.kind, guard), key).Scan(&version, &v)
				if err != nil && !errors.Is(err, pgx.ErrNoRows) {
					t.Fatal(err)
				}
				return version, v != nil
			}
			if version, found := row(""); !found || (version == 1) != (key == c.key) {
				t.Errorf("%s: by %q: found %v, version %d; the test shows nothing", c.kind, key, found, version)
			}
			if _, found := row("and p.k::text = $1"); found != (key == c.key) {
				t.Errorf("%s: by %q with the guide's condition: found %v", c.kind, key, found)
			}
		}
	}
}
