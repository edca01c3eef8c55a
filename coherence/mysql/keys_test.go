package mysql_test

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/mysql"
)

// odd are settings of a session under which the server reads or writes values in another way than by default.
var odd = []string{`set time_zone = '+05:00'`, `set lc_time_names = 'en_GB'`, `set div_precision_increment = 0`,
	`set session transaction isolation level serializable`,
	`set sql_mode = 'NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH,ANSI_QUOTES,PIPES_AS_CONCAT,ALLOW_INVALID_DATES'`,
	`set names latin1`, `set character_set_connection = ucs2`}

// usual takes them back.
var usual = []string{`set names utf8mb4`, `set time_zone = '+00:00', lc_time_names = 'en_US'`,
	`set sql_mode = default, div_precision_increment = default`,
	`set session transaction isolation level repeatable read`}

// under runs statements on one connection after settings, and takes the settings back.
func (b *bench) under(t *testing.T, settings []string, statements ...string) {
	t.Helper()
	conn, err := b.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	for _, s := range slices.Concat(settings, statements, usual) {
		if _, err := conn.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: got error %v, want none", s, err)
		}
	}
}

// keyText is a type, two values as SQL writes them, and the texts of their keys.
type keyText struct{ column, a, b, wantA, wantB string }

// only is what MariaDB alone has: types, and collations that pad no blanks.
var only = regexp.MustCompile(`uuid|inet|nopad|uca1400`)

// at is a time that Go writes as docs/guides/mysql.md says.
var at = time.Date(2026, 2, 3, 4, 5, 6, 700_000_000, time.UTC)

var keyTexts = []keyText{
	{"int", "-7", "7", "-7", "7"},
	{"int(6) zerofill", "42", "1234567", "42", "1234567"},
	{"boolean", "true", "false", "1", "0"},
	{"bigint", "9007199254740993", "-9223372036854775808", "9007199254740993", "-9223372036854775808"},
	{"bigint unsigned", "18446744073709551615", "0", "18446744073709551615", "0"},
	{"decimal(10,2)", "1.5", "-0.001", "1.50", "0.00"},
	{"decimal(10)", "1.6", "-12", "2", "-12"},
	{"decimal(40,20)", "123456789012345678.5", "0", "123456789012345678.50000000000000000000",
		"0.00000000000000000000"},
	{"varchar(40) collate utf8mb4_bin", `'ключ :\\ '`, "'É'", `ключ :\ `, "É"},
	{"varchar(40) collate utf8mb4_bin", `'e\u0301'`, "'é'", `eu0301`, "é"},
	{"varchar(40) collate utf8mb4_nopad_bin", `'a '`, "'a'", "a ", "a"},
	{"varchar(40) character set utf8mb3 collate utf8mb3_bin", `'a'`, "'A'", "a", "A"},
	{"varchar(40) character set latin1 collate latin1_bin", "'é'", "'e'", "é", "e"},
	{"varchar(40) character set ucs2 collate ucs2_bin", "'é'", "'Ж'", "é", "Ж"},
	{"char(5) collate utf8mb4_bin", "'ab'", "'Ab  '", "ab", "Ab"},
	{"char(5) collate utf8mb4_nopad_bin", "'ab '", "'  é'", "ab", "  é"},
	{"char(5) character set latin1 collate latin1_bin", "'é'", "''", "é", ""},
	{"binary(2)", "x'00ff'", "x'20'", fmt.Sprintf(`\x%x`, "\x00\xff"), fmt.Sprintf(`\x%x`, " \x00")},
	{"varbinary(9)", "'a'", "x'2000'", `\x61`, `\x2000`},
	{"varchar(9) character set binary", "'A'", "''", `\x41`, `\x`},
	{"date", "'2026-02-03'", "20260204", at.Format("2006-01-02"), "2026-02-04"},
	{"datetime", "'2026-02-03 04:05:06'", "'2026-02-03T00:00:00'", at.Format("2006-01-02 15:04:05"),
		"2026-02-03 00:00:00"},
	{"datetime(3)", "'2026-02-03 04:05:06.7'", "'2026-02-03'", at.Format("2006-01-02 15:04:05.000"),
		"2026-02-03 00:00:00.000"},
	{"datetime(6)", "'2026-02-03 04:05:06.7'", "'2026-02-03'", at.Format("2006-01-02 15:04:05.000000"),
		"2026-02-03 00:00:00.000000"},
	{"time(2)", "'-12:00:00.5'", "'838:59:59'", "-12:00:00.50", "838:59:59.00"},
	{"year", "70", "2026", "1970", "2026"},
	{"uuid", "'123E4567-E89B-12D3-A456-426655440000'", "'00000000000000000000000000000001'",
		"123e4567-e89b-12d3-a456-426655440000", "00000000-0000-0000-0000-000000000001"},
	{"inet4", "'1.2.3.4'", "'255.255.255.255'", "1.2.3.4", "255.255.255.255"},
	{"inet6", "'::FFFF:1.2.3.4'", "'0:0::1'", "::ffff:1.2.3.4", "::1"},
	{"enum('Big','é') collate utf8mb4_bin", "'Big'", "2", "Big", "é"},
}

// TestTrigger_KeysUnderEverySetting: a key has one text, whichever session installed the trigger and whichever writes,
// and in each of the statements that are counted.
func TestTrigger_KeysUnderEverySetting(t *testing.T) {
	b := open(t)
	for i, c := range keyTexts {
		if b.mysql != "" && only.MatchString(c.column) {
			continue
		}
		for _, settings := range [][]string{nil, odd} {
			table := fmt.Sprintf("t%d_%d", i, len(settings))
			b.under(t, nil, "create table "+table+" (k "+c.column+" not null primary key, v int)",
				"create table given"+table+" (a "+c.column+", b "+c.column+")",
				"insert into given"+table+" values ("+c.a+", "+c.b+")")
			b.install(t, settings, mysql.Trigger{Table: table, Namespace: table, KeyColumns: []string{"k"}})
			b.under(t, settings,
				"insert into "+table+" select a, 1 from given"+table,
				"update "+table+" set v = 2",
				"update "+table+" set k = (select b from given"+table+")",
				"replace into "+table+" select b, 3 from given"+table,
				"insert into "+table+" select b, 4 from given"+table+" on duplicate key update v = 5",
				"delete from "+table)
			b.want(t, table, "created "+c.wantA, "updated "+c.wantA, "deleted "+c.wantA, "created "+c.wantB,
				"deleted "+c.wantB, "created "+c.wantB, "updated "+c.wantB, "deleted "+c.wantB)
			for _, key := range []string{c.wantA, c.wantB} {
				if v, err := b.Version(t.Context(), table, key); err != nil || v == 0 {
					t.Errorf("%s: version of %q = %d, %v", c.column, key, v, err)
				}
			}
		}
	}
}

// install runs the statements of TriggerSQL by hand, in a session with settings.
func (b *bench) install(t *testing.T, settings []string, tr mysql.Trigger) {
	t.Helper()
	statements, err := b.TriggerSQL(t.Context(), tr)
	if err != nil {
		t.Fatal(err)
	}
	b.under(t, settings, statements...)
	b.trigger(t, tr) // finds them there, and notes them
}

// TestTrigger_CompositeKeysUnderEverySetting: where a backslash is no escape, too.
func TestTrigger_CompositeKeysUnderEverySetting(t *testing.T) {
	b := open(t)
	b.exec(t, `create table products (a char(9) collate utf8mb4_bin, b varbinary(9), c int, primary key (a, b, c))`)
	tr := products
	tr.KeyColumns = []string{"a", "b", "c"}
	b.install(t, odd, tr)
	b.under(t, odd, `insert into products values ('\x:y', x'00', -1)`)
	b.want(t, "product", "created "+coherence.CompositeKey(`\x:y`, `\x00`, "-1"))
}

// TestInstallTrigger_RefusesKeysWithSeveralTexts by name, also as a part of a key.
func TestInstallTrigger_RefusesKeysWithSeveralTexts(t *testing.T) {
	b := open(t)
	for i, c := range []struct{ kind, why string }{
		{"varchar(9) collate utf8mb4_general_ci", "several spellings"},
		{"varchar(9) collate utf8mb4_unicode_520_nopad_ci", "several spellings"},
		{"varchar(9) collate utf8mb4_uca1400_ai_cs", "several spellings"},
		{"char(9) character set latin1 collate latin1_general_cs", "several spellings"},
		{"char(9) character set latin1 collate latin1_swedish_ci", "several spellings"},
		{"enum('a', 'b') collate utf8mb4_general_ci", "several spellings"},
		{"timestamp", "time zone"},
		{"timestamp(6)", "time zone"},
		{"float", "rounded"},
		{"double", "rounded"},
		{"real", "rounded"},
		{"decimal(9,2) zerofill", "zerofill"},
		{"bit(4)", "Go and SQL"},
		{"set('a', 'b') collate utf8mb4_bin", "Go and SQL"},
		{"json", "Go and SQL"},
		{"text collate utf8mb4_bin", "Go and SQL"},
		{"blob", "Go and SQL"},
		{"point", "Go and SQL"},
	} {
		if b.mysql != "" && only.MatchString(c.kind) {
			continue
		}
		table := fmt.Sprint("r", i)
		b.exec(t, "create table "+table+" (id int not null, k "+c.kind+" not null)")
		for _, keys := range [][]string{{"k"}, {"id", "K"}} {
			err := b.InstallTrigger(t.Context(), mysql.Trigger{Table: table, Namespace: "n", KeyColumns: keys,
				SharedKeys: true})
			if err == nil || !strings.Contains(err.Error(), "key column k is ") || !strings.Contains(err.Error(), c.why) {
				t.Errorf("%s in the key %v: %v, want it refused by name, with %q", c.kind, keys, err, c.why)
			}
		}
	}
}

// TestInstallTrigger_AcceptsAColumnWithOneSpelling is what docs/guides/mysql.md advises for a refused column.
func TestInstallTrigger_AcceptsAColumnWithOneSpelling(t *testing.T) {
	b := open(t)
	b.exec(t, `create table people (email varchar(190) collate utf8mb4_general_ci not null,
		email_key varchar(190) collate utf8mb4_bin not null unique check (email_key <=> lower(email)))`)
	b.trigger(t, mysql.Trigger{Table: "people", Namespace: "person", KeyColumns: []string{"email_key"}})
	b.exec(t, `insert into people values ('Ann@example.com', 'ann@example.com')`)
	b.want(t, "person", "created ann@example.com")
	if b.mysql == "8.0.15" {
		return // before 8.0.16 it reads check and forgets it
	}
	if _, err := b.db.Exec(`insert into people values ('Bob@example.com', 'Bob@example.com')`); err == nil {
		t.Error("a second spelling was stored")
	}
}

// TestCheck_FindsAKeyThatHasSeveralTextsNow: the column was altered after the trigger was installed.
func TestCheck_FindsAKeyThatHasSeveralTextsNow(t *testing.T) {
	b := open(t)
	b.exec(t, `create table products (id varchar(20) collate utf8mb4_bin not null unique, name varchar(20))`)
	for _, c := range []struct{ alter, text string }{
		{`modify name varchar(20) collate utf8mb4_general_ci`, ""}, // no key
		{`modify id varchar(20) collate utf8mb4_general_ci not null`, "several spellings"},
		{`modify id varchar(20) collate utf8mb4_bin`, "may be null"},
		{`modify id timestamp not null`, "time zone"},
		{`change id code varchar(20) collate utf8mb4_bin not null`, `no column "id"`},
	} {
		b.exec(t, `delete from products`)
		b.trigger(t, products)
		b.exec(t, `alter table products `+c.alter)
		found, err := b.Check(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(found, func(f coherence.Finding) bool { return f.Code == coherence.FindingKeyColumnChanged })
		switch {
		case at < 0 && c.text != "":
			t.Errorf("after %s Check found %+v, want %s", c.alter, found, coherence.FindingKeyColumnChanged)
		case at >= 0 && (c.text == "" || !strings.Contains(found[at].Text, c.text)):
			t.Errorf("after %s Check found %q, want %q", c.alter, found[at].Text, c.text)
		}
		if c.text != "" && !strings.HasPrefix(c.alter, "change") {
			b.exec(t, `alter table products modify id varchar(20) collate utf8mb4_bin not null`)
		}
	}
}

// oneSpelling is the condition of docs/guides/mysql.md by which a Loader finds a row by its key's text alone.
const oneSpelling = ` and cast(convert(p.k using utf8mb4) as binary) = cast(convert(? using utf8mb4) as binary)`

// TestKeys_OneSpellingIsRead: the server finds a row by many spellings of its key, and the trigger counts one. With the
// condition of the guide the Loader's statement finds the row by that one alone, so no other is cached with its value.
func TestKeys_OneSpellingIsRead(t *testing.T) {
	b := open(t)
	direct := openDB(t, b.dsn+"?interpolateParams=true")
	for i, c := range []struct {
		kind, key string
		others    []string
	}{
		{"int", "42", []string{"042", " 42", "+42", "42 ", "42.0", "4.2e1", "42abc"}},
		{"boolean", "1", []string{"01", "1.0"}},
		{"decimal(10,2)", "1.50", []string{"1.5", "1.500", "01.50", "15e-1"}},
		{"varchar(9) collate utf8mb4_bin", "ab", []string{"ab ", "ab   "}},
		{"char(9) collate utf8mb4_bin", "ab", []string{"ab "}},
		{"varchar(9) character set latin1 collate latin1_bin", "é", []string{"é "}},
		{"enum('a', 'b') collate utf8mb4_bin", "a", []string{"a "}},
		{"date", "2026-02-03", []string{"20260203", "2026-2-3", "2026-02-03 00:00:00"}},
		{"datetime", "2026-02-03 04:05:06", []string{"2026-02-03T04:05:06", "20260203040506", "2026-02-03 04:05:06.000"}},
		{"time", "04:05:06", []string{"4:05:06", "040506", "04:05:06.0"}},
		{"year", "2026", []string{"26"}},
		{"uuid", "123e4567-e89b-12d3-a456-426655440000", []string{"123E4567-E89B-12D3-A456-426655440000",
			"123e4567e89b12d3a456426655440000"}},
		{"inet6", "::1", []string{"0:0::1", "0::0:1"}},
	} {
		if b.mysql != "" && only.MatchString(c.kind) {
			continue
		}
		table := fmt.Sprint("t", i)
		b.exec(t, "create table "+table+" (k "+c.kind+" primary key, v int)")
		b.trigger(t, mysql.Trigger{Table: table, Namespace: table, KeyColumns: []string{"k"}})
		b.exec(t, "insert into "+table+" values ('"+c.key+"', 1)")
		for _, key := range append(slices.Clone(c.others), c.key) {
			for way, db := range map[string]*sql.DB{"prepared": b.db, "interpolated": direct} {
				row := func(condition string) (version coherence.Version, found bool) {
					var v sql.NullInt64
					args := []any{key, key, key}
					err := db.QueryRowContext(t.Context(), `select `+b.VersionSQL(table, "?")+`, p.v from (select 1) one
						left join `+table+` p on p.k = ?`+condition, args[:2+strings.Count(condition, "?")]...).Scan(&version, &v)
					if err != nil {
						t.Fatalf("%s: by %q, %s: %v", c.kind, key, way, err)
					}
					return version, v.Valid
				}
				if version, found := row(""); !found || (version > 1) != (key == c.key) {
					t.Errorf("%s: by %q, %s: found %v, version %d; the test shows nothing", c.kind, key, way, found, version)
				}
				if _, found := row(oneSpelling); found != (key == c.key) {
					t.Errorf("%s: by %q with the guide's condition, %s: found %v", c.kind, key, way, found)
				}
			}
		}
		b.wantPlanByKey(t, table, c.key)
	}
}

// wantPlanByKey fails if the condition of the guide costs the look-up by the index.
func (b *bench) wantPlanByKey(t *testing.T, table, key string) {
	t.Helper()
	plan, err := explain(t.Context(), b.db, `select p.v from (select 1) one left join `+table+` p on p.k = ?`+oneSpelling,
		key, key)
	if err != nil || strings.Contains(plan, `"access_type": "ALL"`) || strings.Contains(plan, `"access_type": "index"`) {
		t.Errorf("%s: the plan is no look-up by the key: %v %s", table, err, plan)
	}
}

func explain(ctx context.Context, db *sql.DB, query string, args ...any) (plan string, err error) {
	err = db.QueryRowContext(ctx, "explain format=json "+query, args...).Scan(&plan)
	return plan, err
}

// TestInstall_UnderEverySetting: what the installing session has set is not kept with procedures and triggers, and is
// as before afterwards.
func TestInstall_UnderEverySetting(t *testing.T) {
	b := open(t)
	b.exec(t, `drop database `+b.name, `create table products (id char(9) collate utf8mb4_bin primary key)`)
	db := openDB(t, b.dsn+"?collation_connection=ucs2_bin&lock_wait_timeout=7&sql_mode=%27PAD_CHAR_TO_FULL_LENGTH%27")
	db.SetMaxOpenConns(1)
	src := b.another(t, db)
	if err := src.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := src.InstallTrigger(t.Context(), products); err != nil {
		t.Fatal(err)
	}
	var settings string
	err := db.QueryRowContext(t.Context(), `select concat_ws(' ', @@session.collation_connection,
		@@session.lock_wait_timeout, @@session.sql_mode)`).Scan(&settings)
	if err != nil || settings != "ucs2_bin 7 PAD_CHAR_TO_FULL_LENGTH" {
		t.Errorf("the session has %q, %v afterwards", settings, err)
	}
	b.exec(t, `insert into products values ('a')`, `delete from products`)
	b.want(t, "product", "created a", "deleted a")
	var deleted int
	err = b.db.QueryRowContext(t.Context(), `select deleted from `+b.name+`.versions where k = 'a'`).Scan(&deleted)
	if err != nil || deleted != 1 {
		t.Errorf("the key counts as deleted: %d, %v, want 1", deleted, err)
	}
}
