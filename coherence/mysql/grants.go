package mysql

import "fmt"

// Purpose is what an account is for.
type Purpose string

// The purposes that GrantSQL knows. A writer whose tables have triggers needs no right on the source's database.
const (
	ForInstance Purpose = "instance" // a service that uses a cache
	ForRelay    Purpose = "relay"    // a relay
	ForBumper   Purpose = "bumper"   // a writer that counts versions by itself
)

// grants are the rights of each purpose, and no more.
var grants = map[Purpose][]string{
	ForInstance: {
		"grant select on {db}.meta to %s", "grant select on {db}.boot to %s", "grant select on {db}.outbox to %s",
		"grant select on {db}.versions to %s", "grant select on {db}.floors to %s",
		"grant execute on procedure {db}.note_boot to %s", "grant execute on procedure {db}.check_table to %s",
		"grant select on {db}.triggers to %s",
		"grant execute on procedure {db}.count_change to %s",
	},
	ForRelay: {
		"grant select, update on {db}.meta to %s", "grant select on {db}.boot to %s",
		"grant select, delete on {db}.outbox to %s", "grant select, delete on {db}.versions to %s",
		"grant select, insert, update on {db}.floors to %s", "grant select, delete on {db}.writers to %s",
		"grant select, insert, update on {db}.cursors to %s", "grant select, insert, update on {db}.leaders to %s",
		"grant execute on procedure {db}.note_boot to %s", "grant execute on procedure {db}.check_table to %s",
		"grant select on {db}.triggers to %s",
	},
	ForBumper: {
		"grant select on {db}.versions to %s", "grant select on {db}.floors to %s",
		"grant execute on procedure {db}.count_change to %s",
	},
}

// GrantSQL are the statements that give an account what it needs, and no more. The account is written as in SQL, such
// as 'relay'@'10.0.%'.
func (s *Source) GrantSQL(purpose Purpose, account string) ([]string, error) {
	wanted, ok := grants[purpose]
	if !ok {
		return nil, fmt.Errorf("mysql: no purpose %q", purpose)
	}
	var out []string
	for _, g := range wanted {
		out = append(out, s.q(fmt.Sprintf(g, account)))
	}
	return out, nil
}
