package cli

import (
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/client"
)

func noContext(cs contexts, name string) error {
	e := api.Errorf(api.CodeNotFound, "there is no context %q", name).WithHint("hearth context ls shows them")
	names := append(slices.Sorted(maps.Keys(cs.Contexts)), localContext)
	if n := api.Nearest(name, names); n != "" {
		e = e.WithHint("did you mean %s?   --context %s", n, n)
	}
	return e
}

func (a *app) contextCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "context",
		Short: "Choose which hearth the commands talk to",
		Long:  "Choose which hearth the commands talk to. local exists by itself: it is the one that runs in this folder, or in one above it.",
		Example: `  hearth context ls
  hearth context add lab --url https://lab.example:4000 --token TOKEN --ca ca.pem
  hearth context use lab
  hearth context use -          back to the previous one`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownVerb(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	ls := &cobra.Command{Use: "ls", Short: "List the contexts", Args: args(0, 0, "no arguments"), RunE: func(*cobra.Command, []string) error { return a.contextList() }}
	use := &cobra.Command{
		Use: "use NAME", Short: "Make a context the current one; - is the previous", Args: args(1, 1, "one name"),
		ValidArgsFunction: a.completeContexts,
		RunE:              func(_ *cobra.Command, args []string) error { return a.contextUse(args[0]) },
	}
	var t target
	add := &cobra.Command{
		Use: "add NAME --url URL", Short: "Add a context, or change one", Args: args(1, 1, "one name"),
		RunE: func(_ *cobra.Command, args []string) error { return a.contextAdd(args[0], t) },
	}
	add.Flags().StringVar(&t.URL, "url", "", "address of the API, such as https://lab.example:4000")
	add.Flags().StringVar(&t.Token, "token", "", "bearer token")
	add.Flags().StringVar(&t.CA, "ca", "", "PEM `file` with the certificate to trust")
	rm := &cobra.Command{
		Use: "rm NAME", Short: "Remove a context", Args: args(1, 1, "one name"), ValidArgsFunction: a.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error { return a.contextRemove(args[0]) },
	}
	cmd.AddCommand(ls, use, add, rm)
	return cmd
}

func (a *app) contextList() error {
	cs, err := a.readContexts()
	if err != nil {
		return err
	}
	local, running, err := a.local()
	if err != nil {
		return err
	}
	type row struct {
		Name    string `json:"name"`
		URL     string `json:"url,omitempty"`
		Current bool   `json:"current"`
	}
	current := cs.Current
	if current == "" {
		current = localContext
	}
	rows := []row{{localContext, "", current == localContext}}
	if running {
		rows[0].URL = local.URL
	}
	for _, name := range slices.Sorted(maps.Keys(cs.Contexts)) {
		rows = append(rows, row{name, cs.Contexts[name].URL, name == current})
	}
	if a.machine() {
		return a.showValue(rows)
	}
	var cells [][]string
	for _, r := range rows {
		if a.output == "name" {
			if err := a.data(r.Name + "\n"); err != nil {
				return err
			}
			continue
		}
		mark := ""
		if r.Current {
			mark = "*"
		}
		url := r.URL
		if url == "" {
			url = "not running in this folder"
		}
		cells = append(cells, []string{mark, r.Name, url})
	}
	if a.output != "name" {
		table(a.Out, a.tablePaint(), []string{" ", "NAME", "URL"}, cells)
	}
	return nil
}

func (a *app) contextUse(name string) error {
	cs, err := a.readContexts()
	if err != nil {
		return err
	}
	current := cs.Current
	if current == "" {
		current = localContext
	}
	if name == "-" {
		if cs.Previous == "" {
			return usage("there is no previous context").WithHint("hearth context ls shows them")
		}
		name = cs.Previous
	}
	if _, ok := cs.Contexts[name]; !ok && name != localContext {
		return noContext(cs, name)
	}
	if name != current {
		cs.Previous, cs.Current = current, name
	}
	if err := a.writeContexts(cs); err != nil {
		return err
	}
	a.say("now %s; hearth context use - goes back", name)
	return nil
}

func (a *app) contextAdd(name string, t target) error {
	if why := api.CheckName(name); why != "" {
		return usage("%s", why)
	}
	if name == localContext {
		return usage("local is the hearth of this folder; it needs no context").WithHint("choose another name")
	}
	if t.URL == "" {
		return usage("hearth context add needs --url").WithHint("such as --url https://lab.example:4000")
	}
	if err := t.readCA(); err != nil {
		return err
	}
	if _, err := client.New(client.Config{URL: t.URL, CA: []byte(t.CA)}); err != nil {
		return err
	}
	cs, err := a.readContexts()
	if err != nil {
		return err
	}
	cs.Contexts[name] = t
	if err := a.writeContexts(cs); err != nil {
		return err
	}
	a.say("%s context %s added; hearth context use %s makes it the current one", a.paint.good("✓"), name, name)
	return nil
}

func (a *app) contextRemove(name string) error {
	cs, err := a.readContexts()
	if err != nil {
		return err
	}
	if _, ok := cs.Contexts[name]; !ok {
		return noContext(cs, name)
	}
	delete(cs.Contexts, name)
	if cs.Current == name {
		cs.Current = ""
	}
	if cs.Previous == name {
		cs.Previous = ""
	}
	if err := a.writeContexts(cs); err != nil {
		return err
	}
	a.say("%s context %s removed", a.paint.good("✓"), name)
	return nil
}

// tablePaint colours tables, which go to standard output.
func (a *app) tablePaint() painter { return painter{on: colour(a.OutTerminal, a.env.Vars)} }
