package cli

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hearth-run/hearth/api"
)

// Env is what a command knows of its surroundings besides its streams and the
// working folder.
type Env struct {
	Vars    map[string]string // environment variables
	Version string            // of this program
	// Start starts a server for hearth up; nil: this build has none.
	Start StartFunc
}

// Environ makes Env.Vars of os.Environ's form.
func Environ(environ []string) map[string]string {
	vars := make(map[string]string, len(environ))
	for _, kv := range environ {
		k, v, _ := strings.Cut(kv, "=")
		vars[k] = v
	}
	return vars
}

// app is one run of the command line.
type app struct {
	Streams
	env   Env
	paint painter

	// Flags every command has.
	output    string
	jq        string
	namespace string
	context   string
	quiet     bool
	yes       bool
}

// Run executes the command line args (without the program's name) and returns
// its exit code: 0 done, 1 the thing failed, 2 wrong usage, 3 not found, 4 not
// allowed, 5 unreachable, 130 interrupted. It has printed whatever went wrong.
func Run(ctx context.Context, args []string, s Streams, e Env) int {
	a := &app{Streams: s, env: e, paint: painter{on: colour(s.ErrTerminal, e.Vars)}}
	root := a.root()
	root.SetArgs(append([]string{}, args...)) // nil would mean the process's own
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	return a.fail(ctx, err, args)
}

// colour decides whether a terminal gets colours.
func colour(terminal bool, vars map[string]string) bool {
	return terminal && vars["NO_COLOR"] == "" && vars["TERM"] != "dumb"
}

// root builds the tree of commands.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "hearth",
		Short: "Serverless on your own hardware",
		Long:  "Hearth runs functions on your own hardware: one command starts it, one deploys a file.",
		Example: `  hearth up                     start everything here
  hearth deploy hello.js        a file answers HTTP
  hearth invoke hello           call it
  hearth help functions         more about any topic`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownVerb(cmd, args[0])
		},
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetFlagErrorFunc(flagError)
	root.SetHelpTemplate(helpTemplate)
	root.SetUsageTemplate(usageTemplate)
	f := root.PersistentFlags()
	f.SortFlags = false
	f.StringVarP(&a.namespace, "namespace", "n", "", "tenant to work in (HEARTH_NAMESPACE; default \"default\")")
	f.StringVarP(&a.output, "output", "o", "", "json, yaml, name or wide; a table for people when empty")
	f.StringVar(&a.jq, "jq", "", "print what this jq `expression` makes of the JSON")
	f.StringVar(&a.context, "context", "", "which hearth to talk to (HEARTH_CONTEXT); - is the previous one")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "no progress and no talk, only data and errors")
	f.BoolVarP(&a.yes, "yes", "y", false, "answer yes to every question")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"json", "yaml", "name", "wide"}, cobra.ShellCompDirectiveNoFileComp))
	_ = root.RegisterFlagCompletionFunc("context", a.completeContexts)
	_ = root.RegisterFlagCompletionFunc("namespace", a.completeNamespaces)
	root.PersistentPreRunE = func(*cobra.Command, []string) error { return a.checkOutput() }

	for _, g := range []struct {
		id, title string
		commands  []*cobra.Command
	}{
		{"run", "Run:", []*cobra.Command{a.upCommand(), a.statusCommand(), a.envCommand(), a.resetCommand()}},
		{"write", "Write:", []*cobra.Command{a.newCommand(), a.deployCommand(), a.imageCommand(), a.applyCommand(), a.diffCommand(), a.rollbackCommand(), a.deleteCommand()}},
		{"use", "Use:", []*cobra.Command{a.invokeCommand()}},
		{"see", "See:", []*cobra.Command{a.getCommand(), a.describeCommand(), a.logsCommand()}},
		{"place", "Place:", []*cobra.Command{a.contextCommand()}},
		{"help", "Help:", []*cobra.Command{a.doctorCommand(), a.completionCommand(), a.versionCommand()}},
	} {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, c := range g.commands {
			c.GroupID = g.id
			c.Flags().SortFlags = false
			root.AddCommand(c)
		}
	}
	root.SetHelpCommandGroupID("help")
	root.SetHelpCommand(a.helpCommand())
	return root
}

// say writes a line of talk.
func (a *app) say(format string, args ...any) {
	if !a.quiet {
		fprintf(a.Err, format+"\n", args...)
	}
}

// data writes text to standard output.
func (a *app) data(text string) error {
	if _, err := io.WriteString(a.Out, text); err != nil {
		return api.Errorf(api.CodeCanceled, "cannot write the output: %w", err)
	}
	return nil
}

const usageTemplate = `{{if .HasParent}}usage: {{.UseLine}}{{else}}usage: hearth <verb> [kind/]name [flags]{{end}}{{if .HasExample}}

examples:
{{.Example}}{{end}}{{if .HasAvailableSubCommands}}{{$cmds := .Commands}}{{if eq (len .Groups) 0}}

commands:{{range $cmds}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{else}}{{range $group := .Groups}}

{{.Title}}{{range $cmds}}{{if (and (eq .GroupID $group.ID) (or .IsAvailableCommand (eq .Name "help")))}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{end}}{{end}}{{if .HasAvailableLocalFlags}}

flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}{{if .HasAvailableInheritedFlags}}

flags of every command:
{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}{{end}}
`

const helpTemplate = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}{{.UsageString}}`
