package operator

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

func (t *tool) manCommand() *cobra.Command {
	return &cobra.Command{Use: "man DIRECTORY", Short: "Write the manual pages of all commands into a directory",
		Long: `Man writes a page in section 1 for each command, such as nearcache-inspect.1. Read one with man
./nearcache-inspect.1, or put them where manpath says.`,
		Args: exactly(1), RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			header := &doc.GenManHeader{Title: "NEARCACHE", Section: "1", Source: cmd.Root().Version, Manual: "nearcache"}
			if err := doc.GenManTree(cmd.Root(), header, args[0]); err != nil {
				return err
			}
			pages, err := os.ReadDir(args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d pages are in %s\n", len(pages), args[0])
			return err
		}}
}

// referenceCommand prints the part of docs/reference/cli.md about this tool, which a test compares.
func (t *tool) referenceCommand() *cobra.Command {
	return &cobra.Command{Use: "reference", Hidden: true, Short: "Print the reference of all commands as Markdown",
		Args: exactly(0), RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), reference(cmd.Root()))
			return err
		}}
}

// reference is a section for each command that does something, with its flags.
func reference(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("Flags of all commands:\n\n")
	flagTable(&b, root.PersistentFlags())
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, c := range cmd.Commands() {
			if c.Hidden || c.Name() == "help" || c.Name() == "completion" {
				continue
			}
			if c.HasSubCommands() {
				walk(c)
				continue
			}
			fmt.Fprintf(&b, "\n### %s\n\n`%s`\n\n%s.\n", c.CommandPath(), strings.TrimSuffix(c.UseLine(), " [flags]"), c.Short)
			flags := pflag.NewFlagSet("", pflag.ContinueOnError)
			if p := c.Parent(); p.HasParent() {
				flags.AddFlagSet(p.PersistentFlags())
			}
			flags.AddFlagSet(c.LocalNonPersistentFlags())
			if flags.HasAvailableFlags() {
				b.WriteString("\n")
				flagTable(&b, flags)
			}
		}
	}
	walk(root)
	return b.String()
}

func flagTable(b *strings.Builder, flags *pflag.FlagSet) {
	b.WriteString("| flag | meaning |\n|---|---|\n")
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" {
			return
		}
		def := ""
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" && !strings.Contains(f.Usage, "default") {
			def = " (default `" + f.DefValue + "`)"
		}
		fmt.Fprintf(b, "| `--%s` | %s%s |\n", f.Name, f.Usage, def)
	})
}
