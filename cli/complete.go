package cli

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/node"
)

// completionTime bounds how long the shell waits for names.
const completionTime = 700 * time.Millisecond

func (a *app) completionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "Print the completion script of a shell",
		Long:  "Print the completion script of a shell. It completes verbs, flags, and the names of what is deployed.",
		Example: `  source <(hearth completion bash)
  hearth completion zsh > "${fpath[1]}/_hearth"
  hearth completion fish > ~/.config/fish/completions/hearth.fish`,
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		Args:      args(1, 1, "the name of a shell"),
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(a.Out, true)
			case "zsh":
				return root.GenZshCompletion(a.Out)
			case "fish":
				return root.GenFishCompletion(a.Out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(a.Out)
			}
			return usage("there is no completion for %q", args[0]).WithHint("one of bash, zsh, fish, powershell")
		},
	}
	return cmd
}

func (a *app) completeContexts(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	cs, err := a.readContexts()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return append(slices.Sorted(maps.Keys(cs.Contexts)), localContext), cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completeNamespaces(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.completeNames(cmd, mustKind("namespace")), cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completeNames(cmd *cobra.Command, k api.Kind) []string {
	c, _, err := a.connect()
	if err != nil {
		return nil
	}
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completionTime)
	defer cancel()
	return a.names(ctx, c, k)
}

// completeFunctions completes one function's name.
func (a *app) completeFunctions(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeNames(cmd, mustKind("function")), cobra.ShellCompDirectiveNoFileComp
}

// completeKinds completes KIND [NAME] and KIND/NAME.
func (a *app) completeKinds(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		if k, ok := api.FindIn(node.Kinds(), args[0]); ok {
			return a.completeNames(cmd, k), cobra.ShellCompDirectiveNoFileComp
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	if k, _, ok := strings.Cut(word, "/"); ok {
		kd, ok := api.FindIn(node.Kinds(), k)
		if !ok {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var out []string
		for _, n := range a.completeNames(cmd, kd) {
			out = append(out, k+"/"+n)
		}
		return out, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for _, k := range node.Kinds() {
		out = append(out, k.Plural)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
