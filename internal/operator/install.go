package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
)

// installResult is what install prints.
type installResult struct {
	DryRun    bool     `json:"dry_run"`
	Table     string   `json:"table"`
	Namespace string   `json:"namespace"`
	Schema    string   `json:"schema"`
	SQL       []string `json:"sql"`
}

// grants are the rights of each role. docs/guides/postgres.md has the same statements, and says why.
var grants = map[string][]string{
	"bumper": {
		"grant usage on schema @@ to $ROLE",
		"grant execute on function @@.bump(text, text, text) to $ROLE",
	},
	"instance": {
		"grant usage on schema @@ to $ROLE",
		"grant select on @@.meta, @@.versions, @@.floors, @@.truncates to $ROLE",
		"grant select on @@.triggers to $ROLE",
		"grant execute on function @@.bump(text, text, text) to $ROLE",
	},
	"relay": {
		"grant usage on schema @@ to $ROLE",
		"grant select, update on @@.meta to $ROLE",
		"grant select, delete on @@.outbox to $ROLE",
		"grant select, update, delete on @@.versions, @@.truncates to $ROLE",
		"grant select, insert, update on @@.floors, @@.cursors, @@.leaders to $ROLE",
		"grant select on @@.triggers to $ROLE",
	},
}

// installer installs one trigger.
type installer struct {
	*tool
	trigger postgres.Trigger
	roles   map[string]*[]string // by what they are for
}

func (t *tool) installCommand() *cobra.Command {
	in := &installer{tool: t, roles: map[string]*[]string{"instance": {}, "relay": {}, "bumper": {}}}
	var printOnly, grantsOnly bool
	cmd := &cobra.Command{
		Use: "install", Short: "Install the trigger that counts versions for a table, the schema it needs, and grants",
		Long: `Install makes every change of a table's rows count a version and write the outbox, whoever makes it. The
relay carries that to Redis and Kafka, so writers need not know of the cache. It may be run again: where nothing
changes, nothing is done. After an upgrade of the program it brings the schema and the trigger to its version.

It prints the statements, and then runs them. --print-sql prints them and runs none: they can be given to psql, or to a
migration.

The role must own the table, or be a superuser, and needs the right to create the schema. --grant-instance,
--grant-relay and --grant-bumper give a role what it needs and no more (docs/guides/postgres.md).`,
		Args: exactly(0),
	}
	f := cmd.Flags()
	f.StringVar(&in.trigger.Table, "table", "", "the table, with its schema if that is not on the search path; required")
	f.StringVar(&in.trigger.Namespace, "namespace", "", "namespace of the cache whose keys the rows are; required")
	f.StringSliceVar(&in.trigger.KeyColumns, "key", nil, "columns that make up the key, separated by commas; required")
	f.StringSliceVar(&in.trigger.Columns, "columns", nil,
		"columns that the cache shows; changes of others do not count (default all)")
	f.BoolVar(&in.trigger.SharedKeys, "shared-keys", false,
		"allow several rows with one key, such as the lines of an order")
	f.BoolVar(&in.withoutNotify, "without-notify", false,
		"commits notify no relay, which then finds changes at its interval; for all tables, until the next install")
	f.Int64Var(&in.truncateRows, "truncate-rows", 100_000,
		"a truncate of more rows is one event, and empties every cache of the prefix; for all tables, until the next install")
	f.StringSliceVar(in.roles["instance"], "grant-instance", nil, "roles of services that use a cache")
	f.StringSliceVar(in.roles["relay"], "grant-relay", nil, "roles of relays")
	f.StringSliceVar(in.roles["bumper"], "grant-bumper", nil, "roles of writers that count versions by themselves")
	f.BoolVar(&printOnly, "print-sql", false, "print the statements and run none; connects to nothing")
	f.BoolVar(&grantsOnly, "grants", false,
		"print the grants of each purpose, for the roles of --grant-* or else for examples, and run none")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if grantsOnly {
			return in.printGrants(cmd)
		}
		if in.trigger.Table == "" || in.trigger.Namespace == "" || len(in.trigger.KeyColumns) == 0 {
			return usage("--table, --namespace and --key are needed")
		}
		if err := coherence.CheckName(in.trigger.Namespace); err != nil {
			return usage("--namespace: %q %w", in.trigger.Namespace, err)
		}
		ctx, cancel := t.limit(cmd)
		defer cancel()
		if printOnly {
			return in.printSQL(cmd)
		}
		return in.run(ctx, cmd)
	}
	return cmd
}

// printSQL is the dry run. It opens a pool that never connects, since the statements depend on no database.
func (in *installer) printSQL(cmd *cobra.Command) error {
	in.database = "postgres://localhost/none"
	src, _, closeIt, err := in.openSource(cmd.Context())
	if err != nil {
		return err
	}
	defer closeIt()
	result, err := in.statements(src, true)
	if err != nil {
		return err
	}
	result.DryRun = true
	return in.show(cmd, result, result.printSQL)
}

// printGrants shows what each purpose needs. It connects to nothing.
func (in *installer) printGrants(cmd *cobra.Command) error {
	in.database = "postgres://localhost/none"
	_, _, closeIt, err := in.openSource(cmd.Context()) // checks the schema's name, which rights puts into statements
	if err != nil {
		return err
	}
	defer closeIt()
	named := false
	for _, roles := range in.roles {
		named = named || len(*roles) > 0
	}
	for purpose, roles := range in.roles {
		if !named {
			*roles = []string{"shop_" + purpose}
		}
	}
	result := &installResult{DryRun: true, Schema: in.schema, SQL: in.rights()}
	return in.show(cmd, result, func(w io.Writer) {
		for _, sql := range result.SQL {
			fmt.Fprintf(w, "%s;\n", sql)
		}
	})
}

// statements are all that are run, the schema's among them if it is not there.
func (in *installer) statements(src *postgres.Source, schema bool) (*installResult, error) {
	statement, err := src.TriggerSQL(in.trigger)
	if err != nil {
		return nil, usage("%w", err)
	}
	r := &installResult{Table: in.trigger.Table, Namespace: in.trigger.Namespace, Schema: in.schema}
	if schema {
		r.SQL = append(r.SQL, strings.TrimSpace(src.InstallSQL()))
	}
	r.SQL = append(append(r.SQL, statement), in.rights()...)
	return r, nil
}

// run shows the statements, and then runs them.
func (in *installer) run(ctx context.Context, cmd *cobra.Command) error {
	src, pool, closeIt, err := in.openSource(ctx)
	if err != nil {
		return err
	}
	defer closeIt()
	installed, err := isInstalled(ctx, src)
	if err != nil {
		return err
	}
	result, err := in.statements(src, !installed)
	if err != nil {
		return err
	}
	if !in.json {
		if err := in.show(cmd, result, result.printSQL); err != nil {
			return err
		}
	}
	if err := src.Install(ctx); err != nil {
		return err
	}
	if err := src.InstallTrigger(ctx, in.trigger); err != nil {
		return err
	}
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		for _, sql := range in.rights() {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return fmt.Errorf("%s: %w", sql, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return in.show(cmd, result, func(w io.Writer) {
		fmt.Fprintf(w, "installed: every change of %s counts a version of its key in the namespace %q\n", result.Table,
			result.Namespace)
	})
}

// isInstalled says whether the schema is there, in this program's version.
func isInstalled(ctx context.Context, src *postgres.Source) (bool, error) {
	found, err := src.Check(ctx)
	if errors.Is(err, postgres.ErrNotInstalled) {
		return false, nil
	}
	for _, f := range found {
		if f.Code == coherence.FindingSchemaVersion {
			return false, nil
		}
	}
	return err == nil, err
}

// rights are the grants that are asked for.
func (in *installer) rights() (sql []string) {
	for _, purpose := range []string{"instance", "relay", "bumper"} {
		for _, role := range *in.roles[purpose] {
			for _, g := range grants[purpose] {
				sql = append(sql, strings.Replace(in.in(g), "$ROLE", pgx.Identifier{role}.Sanitize(), 1))
			}
		}
	}
	return sql
}

func (r *installResult) printSQL(w io.Writer) {
	fmt.Fprintln(w, "begin;")
	for _, sql := range r.SQL {
		fmt.Fprintf(w, "%s;\n", strings.TrimSuffix(sql, ";"))
	}
	fmt.Fprintln(w, "commit;")
}
