package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/coherence/postgres"
)

func (t *tool) install() *cobra.Command {
	var trigger postgres.Trigger
	var printOnly bool
	cmd := &cobra.Command{
		Use: "install", Short: "Install the trigger that counts versions for a table, and the schema it needs",
		Long: `Install makes every change of a table's rows count a version and write the outbox, whoever makes it. The
relay carries that to Redis and Kafka, so writers need not know of the cache. It may be run again: where nothing
changes, nothing is done. After an upgrade of the program it brings the schema and the trigger to its version.

--print-sql prints the statements and runs none. It needs no database.`,
		Args: exactly(0, 0),
	}
	f := cmd.Flags()
	f.StringVar(&trigger.Table, "table", "", "the table, with its schema if that is not on the search path; required")
	f.StringVar(&trigger.Namespace, "namespace", "", "namespace of the cache whose keys the rows are; required")
	f.StringSliceVar(&trigger.KeyColumns, "key", nil, "columns that make up the key, separated by commas; required")
	f.StringSliceVar(&trigger.Columns, "columns", nil,
		"columns that the cache shows; changes of others do not count (default all)")
	f.BoolVar(&trigger.SharedKeys, "shared-keys", false, "allow several rows with one key, such as the lines of an order")
	f.BoolVar(&t.withoutNotify, "without-notify", false,
		"commits notify no relay, which then finds changes at its interval; for all tables, until the next install")
	f.BoolVar(&printOnly, "print-sql", false, "print the statements and run none")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if trigger.Table == "" || trigger.Namespace == "" || len(trigger.KeyColumns) == 0 {
			return fmt.Errorf("%w: --table, --namespace and --key are needed", errUsage)
		}
		if err := coherence.CheckName(trigger.Namespace); err != nil {
			return fmt.Errorf("%w: --namespace: %q %w", errUsage, trigger.Namespace, err)
		}
		if printOnly {
			return t.printSQL(cmd, trigger)
		}
		ctx, cancel := t.limit(cmd.Context())
		defer cancel()
		src, pool, err := t.source(ctx)
		if err != nil {
			return err
		}
		defer pool.Close()
		defer src.Close()
		if err := src.Install(ctx); err != nil {
			return err
		}
		if err := src.InstallTrigger(ctx, trigger); err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.OutOrStdout(),
			"installed: every change of %s counts a version of its key in the namespace %q\n",
			trigger.Table, trigger.Namespace)
		return err
	}
	return cmd
}

// printSQL is the dry run. It opens a pool that never connects, since the statements depend on no database.
func (t *tool) printSQL(cmd *cobra.Command, trigger postgres.Trigger) error {
	if t.or(t.database, "DATABASE_URL") == "" {
		t.database = "postgres://localhost/none"
	}
	src, pool, err := t.source(cmd.Context())
	if err != nil {
		return err
	}
	defer pool.Close()
	defer src.Close()
	statement, err := src.TriggerSQL(trigger)
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "begin;\n%s\n%s;\ncommit;\n", src.InstallSQL(), statement)
	return err
}
