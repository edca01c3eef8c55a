package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/nearcache/nearcache-go/coherence"
)

// ChangesBlocks is how many blocks the statement of Changes reads.
func (s *Source) ChangesBlocks(ctx context.Context, after coherence.Position, limit int) (n int, err error) {
	pool, err := s.feed()
	if err != nil {
		return 0, err
	}
	sql, args := s.changesSQL(after, limit)
	var plan []byte
	err = pool.QueryRow(ctx, "explain (analyze, buffers, format json) "+sql, args...).Scan(&plan)
	var out []struct {
		Plan struct {
			Hit  int `json:"Shared Hit Blocks"`
			Read int `json:"Shared Read Blocks"`
		}
	}
	if err = errors.Join(err, json.Unmarshal(plan, &out)); err != nil || len(out) != 1 {
		return 0, errors.Join(err, errors.New("no plan"))
	}
	return out[0].Plan.Hit + out[0].Plan.Read, nil
}

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

// InstallVersion does what Install of an older program did.
func (s *Source) InstallVersion(ctx context.Context, n int) error {
	for _, m := range migrations[:n] {
		if _, err := s.pool.Exec(ctx, s.q(m)); err != nil {
			return err
		}
	}
	_, err := s.pool.Exec(ctx, s.q(`update @@.meta set schema_version = $1`), n)
	return err
}
