package httpapi_test

import (
	"strings"
	"testing"
)

func TestIfNoneMatch_ListsWeakTagsAndSeveralLines(t *testing.T) {
	u := serve(t).url + "/products/x"
	tag := ask(t, "PUT", u, `{"name":"X","price":1}`).header.Get("ETag")
	if !strings.HasPrefix(tag, `"1-`) {
		t.Fatalf("ETag %s", tag)
	}
	for _, c := range []struct {
		lines []string
		want  int
	}{
		{[]string{tag}, 304}, {[]string{"W/" + tag}, 304}, {[]string{`*`}, 304}, {[]string{`"7", W/` + tag}, 304},
		{[]string{`"7"`, tag}, 304},
		{[]string{`"a,b" , ` + tag}, 304}, {[]string{`,, ` + tag + `,`}, 304},
		{[]string{`"2"`}, 200}, {[]string{`1`}, 200}, {[]string{`"1`}, 200}, {[]string{`"a,` + tag + `,"`}, 200},
		{[]string{`"01"`}, 200}, {[]string{``}, 200},
		{[]string{`"1"`}, 200}, // of one version there can be several contents
	} {
		for _, method := range []string{"GET", "HEAD"} {
			var header []string
			for _, l := range c.lines {
				header = append(header, "If-None-Match", l)
			}
			got := ask(t, method, u, "", header...)
			if got.status != c.want || got.header.Get("ETag") != tag || got.header.Get("Cache-Status") == "" {
				t.Errorf("%s with %q: %d %v, want %d", method, c.lines, got.status, got.header, c.want)
			}
			if got.body != "" && (method == "HEAD" || c.want == 304) {
				t.Errorf("%s, %d: has a body", method, got.status)
			}
		}
	}
}

func TestPreconditions_OfWrites(t *testing.T) {
	a := serve(t)
	u := a.url + "/products/x"
	tag := ""
	put := func(want int, header ...string) {
		t.Helper()
		got := ask(t, "PUT", u, `{"name":"X","price":1}`, header...)
		if got.status != want {
			t.Errorf("PUT with %q: %d %s, want %d", header, got.status, got.body, want)
		}
		if got.status < 300 {
			tag = got.header.Get("ETag")
		}
	}
	remove := func(want int, header ...string) {
		t.Helper()
		if got := ask(t, "DELETE", u, "", header...); got.status != want {
			t.Errorf("DELETE with %q: %d %s, want %d", header, got.status, got.body, want)
		}
	}
	put(412, "If-Match", `*`)
	put(412, "If-Match", `"1"`)
	put(412, "If-Match", `"0"`)
	put(412, "If-Match", `"77"`, "If-None-Match", `*`)
	put(201, "If-None-Match", `*`)
	put(412, "If-None-Match", `*`)
	put(412, "If-Match", `"1"`, "If-None-Match", `*`)
	put(412, "If-Match", `"0"`)
	put(200, "If-None-Match", `"1"`) // a version alone names no content
	put(412, "If-None-Match", tag)
	put(412, "If-None-Match", "W/"+tag)
	put(200, "If-Match", tag)
	put(200, "If-Match", `W/"3", "foreign", "3"`)
	put(200, "If-Match", `"9", "4"`)
	put(412, "If-Match", `"2"`)
	put(412, "If-Match", `W/"5"`) // compared strongly
	put(412, "If-Match", "W/"+tag)
	put(412, "If-Match", `"foreign"`)
	put(412, "If-Match", `"05"`)
	put(400, "If-Match", `5`)
	put(400, "If-Match", ``)
	put(400, "If-None-Match", `5`)
	put(200, "If-Match", `*`)
	remove(412, "If-Match", `"3"`)
	remove(412, "If-Match", `"0"`)
	remove(412, "If-None-Match", `*`)
	remove(412, "If-None-Match", tag)
	remove(400, "If-None-Match", `x`)
	remove(204, "If-Match", tag, "If-None-Match", `"other"`)
	remove(404, "If-Match", `"6"`) // without the precondition it would be that too
	remove(404, "If-None-Match", `*`)
	put(412, "If-Match", `"6"`) // versions go on across deletes
}

func TestPreconditions_OfReads(t *testing.T) {
	u := serve(t).url + "/products/x"
	tag := ask(t, "PUT", u, `{"name":"X","price":1}`).header.Get("ETag")
	for match, want := range map[string]int{tag: 200, `"1"`: 200, `*`: 200, `"2"`: 412, "W/" + tag: 412} {
		if got := ask(t, "GET", u, "", "If-Match", match); got.status != want {
			t.Errorf("GET with If-Match %s: %d, want %d", match, got.status, want)
		}
	}
	if got := ask(t, "GET", u+"none", "", "If-Match", "*"); got.status != 404 {
		t.Errorf("of no product: %d", got.status)
	}
}

// TestTag_CoversAContentThatNoVersionCovers: a change that nothing counts has the old version. No client is to hear
// that nothing has changed, or to write over it unseen.
func TestTag_CoversAContentThatNoVersionCovers(t *testing.T) {
	a := serve(t)
	u := a.url + "/products/x"
	tag := ask(t, "PUT", u, `{"name":"X","price":1}`).header.Get("ETag")
	a.dropTriggers(t)
	if _, err := a.db.Exec(`update products set name = 'changed' where id = 'x'`); err != nil {
		t.Fatal(err)
	}
	got := ask(t, "GET", u, "", "If-None-Match", tag, "Nearcache-Fresh", "?1")
	if got.status != 200 || !strings.Contains(got.body, "changed") || got.header.Get("Nearcache-Version") != "1" {
		t.Errorf("a new content under the old version: %d %s %v", got.status, got.body, got.header)
	}
	if put := ask(t, "PUT", u, `{"name":"mine","price":1}`, "If-Match", tag); put.status != 412 {
		t.Errorf("a lost update: %d %s", put.status, put.body)
	}
	if put := ask(t, "PUT", u, `{"name":"mine","price":1}`, "If-Match", got.header.Get("ETag")); put.status != 200 {
		t.Errorf("over what was read: %d %s", put.status, put.body)
	}
	// Version 0 is that of a row that nothing has ever counted. It names no state.
	if put := ask(t, "PUT", u, `{"name":"new","price":1}`, "If-Match", `"0"`); put.status != 412 {
		t.Errorf("version 0: %d", put.status)
	}
	const insert = `insert into products (id, name, price) values ('old', 'older than its version', 1)`
	if _, err := a.db.Exec(insert); err != nil {
		t.Fatal(err)
	}
	old := ask(t, "GET", a.url+"/products/old", "")
	if put := ask(t, "PUT", a.url+"/products/old", `{"name":"new","price":1}`, "If-Match",
		old.header.Get("ETag")); put.status != 200 {
		t.Errorf("a row without a version can be written over: %d %s", put.status, put.body)
	}
	if put := ask(t, "PUT", a.url+"/products/old", `{"name":"newer","price":1}`, "If-Match",
		old.header.Get("ETag")); put.status != 412 {
		t.Errorf("once: %d %s", put.status, put.body)
	}
}

// dropTriggers leaves the table without any.
func (a api) dropTriggers(t *testing.T) {
	t.Helper()
	rows, err := a.db.Query(`select name from sqlite_master where type = 'trigger' and tbl_name = 'products'`)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if err := rows.Err(); err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		if _, err := a.db.Exec(`drop trigger "` + name + `"`); err != nil {
			t.Fatal(err)
		}
	}
}
