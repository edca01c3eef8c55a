package suite

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/rueidis"

	"github.com/nearcache/nearcache-go/benchmarks/fleet"
	"github.com/nearcache/nearcache-go/internal/services/local"
)

// The roles in Postgres, by which its statements are counted.
const (
	roleInstances = "instances"
	roleRelay     = "relay"
	roleWriter    = "writer"
)

// scaleServices are the servers of the section. Postgres is its own: it counts statements by role, and takes a
// connection from every instance.
type scaleServices struct {
	e         *Env
	single    *scaleRedis
	cluster   *scaleRedis // nil before the first point that needs it
	kafka     string
	postgres  *local.Server
	admin     *pgxpool.Pool
	databases int
}

// scaleKeys is the number of keys, and scaleBody the size of a value.
const (
	scaleKeys = 10_000
	scaleBody = 150
)

func (e *Env) openScaleServices(ctx context.Context) (s *scaleServices, err error) {
	s = &scaleServices{e: e}
	if _, err = e.Redis(ctx); err != nil {
		return nil, err
	}
	s.single = &scaleRedis{servers: []*local.Server{e.redis}, clients: []rueidis.Client{e.foreign}}
	if s.kafka, err = e.Kafka(ctx); err != nil {
		return nil, err
	}
	dir, err := e.dataDir("postgres-scale")
	if err != nil {
		return nil, err
	}
	if s.postgres, err = local.StartPostgres(ctx, dir, local.Launch{Started: e.record}, "max_connections=700",
		"shared_preload_libraries=pg_stat_statements"); err != nil {
		return nil, fmt.Errorf("suite: with the extension pg_stat_statements: %w", err)
	}
	if s.admin, err = pgxpool.New(ctx, local.PostgresURL(s.postgres.Addr, "postgres")); err != nil {
		s.close()
		return nil, err
	}
	if err := s.makeTemplate(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *scaleServices) close() {
	if s.admin != nil {
		s.admin.Close()
	}
	s.postgres.Discard()
	if s.cluster != nil {
		s.cluster.close()
	}
}

// redis returns the Redis of a point.
func (s *scaleServices) redis(ctx context.Context, p scalePoint) (_ *scaleRedis, err error) {
	if p.masters == 0 {
		return s.single, nil
	}
	if s.cluster == nil {
		s.cluster, err = openCluster(ctx, s.e, p.masters)
	}
	return s.cluster, err
}

// makeTemplate makes the roles, and the database that every point begins with.
func (s *scaleServices) makeTemplate(ctx context.Context) error {
	for _, statement := range []string{`create extension pg_stat_statements`,
		`create role ` + roleInstances + ` login superuser`, `create role ` + roleRelay + ` login superuser`,
		`create role ` + roleWriter + ` login superuser`, `create database base`} {
		if _, err := s.admin.Exec(ctx, statement); err != nil {
			return fmt.Errorf("suite: %s: %w", statement, err)
		}
	}
	base, err := pgxpool.New(ctx, local.PostgresURL(s.postgres.Addr, "base"))
	if err != nil {
		return err
	}
	defer base.Close() // a template has no connections
	if _, err := base.Exec(ctx, `create table `+fleet.Table+
		` (id text primary key, seq bigint not null, body text)`); err != nil {
		return err
	}
	_, err = base.Exec(ctx, `insert into `+fleet.Table+` select 'key-' || to_char(k, 'fm000000'), 0, repeat('.', $1)
		from generate_series(0, $2 - 1) k`, scaleBody, scaleKeys)
	if err != nil {
		return err
	}
	_, err = base.Exec(ctx, `vacuum analyze `+fleet.Table)
	return err
}

// database makes a new database, and returns its name.
func (s *scaleServices) database(ctx context.Context) (string, error) {
	s.databases++
	name := fmt.Sprintf("fleet%d", s.databases)
	_, err := s.admin.Exec(ctx, `create database `+name+` template base`)
	return name, err
}

func (s *scaleServices) dropDatabase(ctx context.Context, name string) error {
	_, err := s.admin.Exec(ctx, `drop database `+name+` with (force)`)
	return err
}

// url is the address of a database for a role.
func (s *scaleServices) url(database, role string) string {
	return strings.Replace(local.PostgresURL(s.postgres.Addr, database), "postgres://postgres@", "postgres://"+role+"@", 1)
}

// sample adds the totals of all servers, without what this sample itself adds.
func (s *scaleRedis) sample(ctx context.Context, into rates) error {
	for _, c := range s.clients {
		info, err := c.Do(ctx, c.B().Info().Section("clients", "stats", "commandstats").Build()).ToString()
		if err != nil {
			return err
		}
		for line := range strings.SplitSeq(info, "\r\n") {
			into.addRedis(line)
		}
	}
	return nil
}

// addRedis adds a line of Redis's INFO.
func (r rates) addRedis(line string) {
	name, value, _ := strings.Cut(line, ":")
	if command, ok := strings.CutPrefix(name, "cmdstat_"); ok {
		calls, _, _ := strings.Cut(strings.TrimPrefix(value, "calls="), ",")
		if command != "info" {
			n, _ := strconv.ParseFloat(calls, 64)
			r[redisCommands] += n
			r["redis command "+command] += n
		}
		return
	}
	f, _ := strconv.ParseFloat(value, 64)
	switch name {
	case "total_net_input_bytes":
		r[redisIn] += f
	case "total_net_output_bytes":
		r[redisOut] += f
	case "connected_clients":
		r[redisConnections] += f
	}
}

// samplePostgres adds the totals of a database.
func (s *scaleServices) samplePostgres(ctx context.Context, database string, into rates) error {
	rows, err := s.admin.Query(ctx, `select r.rolname, sum(s.calls)::float8 from pg_stat_statements s
		join pg_roles r on r.oid = s.userid join pg_database d on d.oid = s.dbid where d.datname = $1 group by 1`, database)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var role string
		var calls float64
		if err := rows.Scan(&role, &calls); err != nil {
			return err
		}
		into[statementsOf(role)] = calls
	}
	if err := rows.Err(); err != nil {
		return err
	}
	var commits, backends float64
	if err := s.admin.QueryRow(ctx, `select xact_commit::float8, numbackends::float8 from pg_stat_database
		where datname = $1`, database).Scan(&commits, &backends); err != nil {
		return err
	}
	into[postgresCommits], into[postgresConnections] = commits, backends
	return nil
}

// statementsOf is the name of the statements of a role.
func statementsOf(role string) string { return "postgres statements of " + role }
