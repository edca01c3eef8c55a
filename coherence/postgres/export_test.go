package postgres

import "testing"

// AddMigration lets the program know one version of the schema more.
func AddMigration(t *testing.T, sql string) (forget func()) {
	before := migrations
	migrations = append(migrations[:len(migrations):len(migrations)], sql)
	forget = func() { migrations = before }
	t.Cleanup(forget)
	return forget
}

// SchemaVersion is the one that Install leads to.
func SchemaVersion() int { return len(migrations) }

// KnowOnly lets the program know the first versions of the schema only.
func KnowOnly(t *testing.T, n int) (forget func()) {
	before := migrations
	migrations = migrations[:n]
	forget = func() { migrations = before }
	t.Cleanup(forget)
	return forget
}
