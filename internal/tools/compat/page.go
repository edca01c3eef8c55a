package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// table is what was tried, a row for each server.
type table []row

type row struct {
	Server string
	Cells  []cell
}

type cell struct {
	Mode, State, Why string
}

const (
	begins = "<!-- table: begins; make compat writes it -->"
	ends   = "<!-- table: ends -->"
)

// line is the row in the table.
func (r row) line() string {
	out := "| " + r.Server + " |"
	for _, c := range r.Cells {
		out += " " + c.State + " |"
	}
	return out
}

// with is the table in which a row replaces the server's cells of the modes that the row has.
func (t table) with(r row) table {
	i := slices.IndexFunc(t, func(o row) bool { return o.Server == r.Server })
	if i < 0 {
		t = append(t, untriedRow(r.Server))
		i = len(t) - 1
	}
	for _, c := range r.Cells {
		if j := slices.IndexFunc(t[i].Cells, func(o cell) bool { return o.Mode == c.Mode }); j >= 0 {
			t[i].Cells[j] = c
		}
	}
	slices.SortFunc(t, func(a, b row) int { return compareNames(a.Server, b.Server) })
	return t
}

// load reads what save has written, and nothing if there is no such file or it has other modes.
func load(file string) (t table) {
	text, err := os.ReadFile(file)
	if err != nil || json.Unmarshal(text, &t) != nil {
		return nil
	}
	return slices.DeleteFunc(t, func(r row) bool {
		return !slices.EqualFunc(r.Cells, modes, func(c cell, m mode) bool { return c.Mode == m.name })
	})
}

func (t table) save(file string) error {
	text, err := json.MarshalIndent(t, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644)
}

// markdown is what stands between the marks: the table, and below it why cells do not say yes.
func (t table) markdown() string {
	var b strings.Builder
	head, rule := "| server |", "|---|"
	for _, m := range modes {
		head, rule = head+" "+m.name+" |", rule+"---|"
	}
	fmt.Fprintf(&b, "%s\n%s\n", head, rule)
	for _, r := range t {
		b.WriteString(r.line() + "\n")
	}
	for _, name := range nowhere(t) {
		b.WriteString(untriedRow(name).line() + "\n")
	}
	if notes := t.notes(); len(notes) > 0 {
		b.WriteString("\n")
		for _, n := range notes {
			b.WriteString(wrapped("- " + n))
		}
	}
	return b.String()
}

// others imitate Redis too. No package was found that holds one; COMPAT_SERVERS takes a program.
var others = []string{"KeyDB", "Dragonfly", "Garnet", "Kvrocks"}

func nowhere(t table) (names []string) {
	for _, name := range others {
		if !slices.ContainsFunc(t, func(r row) bool { return strings.HasPrefix(r.Server, name) }) {
			names = append(names, name)
		}
	}
	return names
}

func untriedRow(name string) row {
	r := row{Server: name}
	for _, m := range modes {
		r.Cells = append(r.Cells, cell{m.name, untried, ""})
	}
	return r
}

// notes are the reasons, each with the cells that it is of.
func (t table) notes() (out []string) {
	of := map[string][]string{}
	var order []string
	for _, r := range t {
		for _, c := range r.Cells {
			if c.Why == "" {
				continue
			}
			why := c.State + ": " + c.Why
			if of[why] == nil {
				order = append(order, why)
			}
			at := r.Server
			if c.State != refused {
				at += " (" + c.Mode + ")"
			}
			if !slices.Contains(of[why], at) {
				of[why] = append(of[why], at)
			}
		}
	}
	for _, why := range order {
		out = append(out, strings.Join(of[why], ", ")+": "+why)
	}
	return out
}

// wrapped breaks a list item into lines of at most 118 columns.
func wrapped(item string) string {
	var b strings.Builder
	width := 0
	for i, word := range strings.Fields(item) {
		switch {
		case i == 0:
		case width+1+len(word) > 118:
			b.WriteString("\n ")
			width = 1
			fallthrough
		default:
			b.WriteString(" ")
			width++
		}
		b.WriteString(word)
		width += len(word)
	}
	return b.String() + "\n"
}

// writeTo replaces what is between the marks of a page.
func (t table) writeTo(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, _, after, err := split(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, []byte(before+begins+"\n\n"+t.markdown()+"\n"+ends+after), 0o644)
}

// split cuts a page at its marks.
func split(page string) (before, table, after string, err error) {
	before, rest, ok := strings.Cut(page, begins)
	table, after, ok2 := strings.Cut(rest, ends)
	if !ok || !ok2 {
		return "", "", "", errors.New("the marks of the table are not there")
	}
	return before, strings.TrimSpace(table), after, nil
}

// parse reads a table that markdown wrote. It is strict: a row that was edited by hand does not pass.
func parse(text string) (t table, err error) {
	lines := strings.Split(text, "\n")
	empty := strings.Split(table{}.markdown(), "\n")
	if len(lines) < 3 || lines[0] != empty[0] || lines[1] != empty[1] {
		return nil, errors.New("the head of the table is not the generator's")
	}
	for _, line := range lines[2:] {
		if !strings.HasPrefix(line, "|") {
			break
		}
		fields := strings.Split(strings.TrimSuffix(strings.TrimPrefix(line, "| "), " |"), " | ")
		if len(fields) != len(modes)+1 {
			return nil, fmt.Errorf("a row has %d cells, want %d: %s", len(fields)-1, len(modes), line)
		}
		r := row{Server: fields[0]}
		for i, state := range fields[1:] {
			if !slices.Contains([]string{works, refused, fails, untried}, state) {
				return nil, fmt.Errorf("%s, %s: %q is no outcome", r.Server, modes[i].name, state)
			}
			r.Cells = append(r.Cells, cell{Mode: modes[i].name, State: state})
		}
		t = append(t, r)
	}
	return t, nil
}

// failed is an error that names the cells that say no.
func (t table) failed() error {
	var bad []string
	for _, r := range t {
		for _, c := range r.Cells {
			if c.State == fails {
				bad = append(bad, r.Server+" ("+c.Mode+")")
			}
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("fails on %s", strings.Join(bad, ", "))
	}
	return nil
}
