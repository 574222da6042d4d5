package cli

import (
	"embed"
	"io/fs"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"github.com/hearth-run/hearth/api"
)

//go:embed help/*.txt
var topics embed.FS

// helpTopics lists the topics with their first lines.
func helpTopics() (names, titles []string) {
	entries, err := fs.ReadDir(topics, "help")
	if err != nil {
		return nil, nil
	}
	for _, e := range entries {
		text, _ := fs.ReadFile(topics, path.Join("help", e.Name())) // it is in there
		names = append(names, strings.TrimSuffix(e.Name(), ".txt"))
		titles = append(titles, first(string(text)))
	}
	return names, titles
}

func (a *app) helpCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "help [COMMAND|TOPIC]",
		Short:   "Explain a command or a topic",
		GroupID: "help",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			names, _ := helpTopics()
			for _, c := range cmd.Root().Commands() {
				if c.IsAvailableCommand() {
					names = append(names, c.Name())
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.runHelp(cmd.Root(), args) },
	}
	return cmd
}

func (a *app) runHelp(root *cobra.Command, words []string) error {
	if len(words) == 0 {
		if err := root.Help(); err != nil {
			return err
		}
		names, titles := helpTopics()
		var b strings.Builder
		b.WriteString("\ntopics, for hearth help TOPIC:\n")
		for i, n := range names {
			b.WriteString("  " + n + strings.Repeat(" ", max(1, 12-len(n))) + titles[i] + "\n")
		}
		return a.data(b.String())
	}
	if text, err := fs.ReadFile(topics, path.Join("help", words[0]+".txt")); err == nil && len(words) == 1 {
		return a.data(string(text))
	}
	cmd, rest, err := root.Find(words)
	if err == nil && cmd != root && len(rest) == 0 {
		return cmd.Help()
	}
	names, _ := helpTopics()
	for _, c := range root.Commands() {
		names = append(names, c.Name())
	}
	e := usage("there is no command or topic %q", strings.Join(words, " ")).WithHint("hearth help lists them")
	if n := api.Nearest(words[0], names); n != "" {
		e = e.WithHint("did you mean %s?   hearth help %s", n, n)
	}
	return e
}
