package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hearth-run/hearth/api"
)

// finding is one check of hearth doctor, as the server sends it.
type finding struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	Fix    string `json:"fix"`
	// Needed says that functions cannot run without it.
	Needed bool `json:"needed"`
}

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Check the installation; each failed check says what to do",
		Long:  "Check the installation. ✓ is well, ! is missing and done without, ✗ is missing and needed; the exit code is 1 when one is.",
		Args:  args(0, 0, "no arguments"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.runDoctor(cmd.Context()) },
	}
}

func (a *app) runDoctor(ctx context.Context) error {
	list := a.localChecks()
	c, t, err := a.connect()
	var data json.RawMessage
	if err == nil {
		p := a.progress("checking " + t.URL)
		data, err = c.Doctor(ctx)
		p.done()
	}
	if err != nil {
		e := asError(ctx, err)
		if e.Code != api.CodeUnreachable {
			return err
		}
		list = append(list, finding{Check: "server", Detail: e.Message, Fix: e.Help(), Needed: true})
	} else {
		list = append(list, finding{Check: "server", OK: true, Detail: t.URL + t.where()})
		more, err := findings(data)
		if err != nil {
			return err
		}
		list = append(list, more...)
	}
	failed := 0
	for _, f := range list {
		if !f.OK && f.Needed {
			failed++
		}
	}
	if a.machine() {
		if err := a.showValue(list); err != nil {
			return err
		}
	} else {
		for _, f := range list {
			if err := a.data(checkLine(a.tablePaint(), f)); err != nil {
				return err
			}
		}
	}
	if failed > 0 {
		a.say("%s failed", count(failed, "check"))
		return exit(1)
	}
	return nil
}

// checkLine writes one check: ✓ node   v20.20.2.
func checkLine(p painter, f finding) string {
	mark := p.good("✓")
	switch {
	case !f.OK && f.Needed:
		mark = p.bad("✗")
	case !f.OK:
		mark = p.warn("!")
	}
	line := strings.TrimRight(fmt.Sprintf("%s %-22s %s", mark, f.Check, indent(f.Detail, strings.Repeat(" ", 25))), " ") + "\n"
	if !f.OK && f.Fix != "" {
		line += "  " + p.dim("hint:") + " " + f.Fix + "\n"
	}
	return line
}

// findings reads the server's answer: a list, or an object that holds lists.
func findings(data json.RawMessage) ([]finding, error) {
	var list []finding
	if json.Unmarshal(data, &list) == nil {
		return list, nil
	}
	var groups map[string]json.RawMessage
	if err := json.Unmarshal(data, &groups); err != nil {
		return nil, api.Errorf(api.CodeInternal, "the server's checks cannot be read: %w", err).WithHint("is the server newer than this hearth? hearth version shows both")
	}
	names := make([]string, 0, len(groups))
	for n := range groups {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		var part []finding
		if json.Unmarshal(groups[n], &part) == nil {
			list = append(list, part...)
		}
	}
	return list, nil
}

// localChecks are those of this side.
func (a *app) localChecks() []finding {
	list := []finding{{Check: "hearth", OK: true, Detail: a.env.Version + " " + runtime.GOOS + "/" + runtime.GOARCH}}
	path, err := a.contextsPath()
	if err != nil {
		return list
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		list = append(list, finding{Check: "contexts", Detail: path + " can be read by others; it holds tokens", Fix: "chmod 600 " + path})
	}
	return list
}

func (a *app) envCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "env",
		Short: "Print the variables that point kubectl and scripts here",
		Example: `  eval "$(hearth env)"
  kubectl get functions`,
		Args: args(0, 0, "no arguments"),
		RunE: func(*cobra.Command, []string) error { return a.runEnv() },
	}
}

func (a *app) runEnv() error {
	t, err := a.target()
	if err != nil {
		return err
	}
	ca := t.CAFile // curl --cacert takes no text
	if ca == "" {
		ca = t.CA
	}
	vars := [][2]string{{"HEARTH_URL", t.URL}, {"HEARTH_TOKEN", t.Token}, {"HEARTH_CA", ca}, {"KUBECONFIG", t.Kubeconfig}}
	if a.machine() {
		m := map[string]string{}
		for _, v := range vars {
			if v[1] != "" {
				m[v[0]] = v[1]
			}
		}
		return a.showValue(m)
	}
	var b strings.Builder
	for _, v := range vars {
		if v[1] != "" {
			fmt.Fprintf(&b, "export %s='%s'\n", v[0], strings.ReplaceAll(v[1], "'", `'\''`))
		}
	}
	if a.OutTerminal {
		a.say("# to use it: eval \"$(hearth env)\"")
	}
	return a.data(b.String())
}

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show which hearth answers, and what runs there",
		Long:  "Show which hearth answers, and what runs there. -o wide also shows where each setting comes from.",
		Args:  args(0, 0, "no arguments"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.runStatus(cmd.Context()) },
	}
}

func (a *app) runStatus(ctx context.Context) error {
	c, t, err := a.connect()
	if err != nil {
		return err
	}
	p := a.progress("asking " + t.URL)
	data, err := c.Status(ctx)
	p.done()
	if err != nil {
		return err
	}
	if a.machine() {
		return a.show(data)
	}
	rows := [][2]string{{"context", t.Name}, {"api", t.URL}, {"tenant", c.Namespace()}}
	if a.output == "wide" {
		rows = append(rows, [2]string{"found in", t.origin})
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		return api.Errorf(api.CodeInternal, "the server's status cannot be read: %w", err)
	}
	delete(m, "api") // it is how it was reached
	if text, ok := m["started"].(string); ok {
		if at, err := time.Parse(time.RFC3339, text); err == nil {
			m["started"] = at.Local().Format(time.DateTime) + ", " + age(time.Since(at)) + " ago"
		}
	}
	rows = append(rows, flatten("", m)...)
	width := 0
	for _, r := range rows {
		width = max(width, len(r[0]))
	}
	for _, r := range rows {
		if err := a.data(fmt.Sprintf("%-*s   %s\n", width, r[0], r[1])); err != nil {
			return err
		}
	}
	return nil
}

// flatten lists the scalars of m by their paths, sorted.
func flatten(prefix string, m map[string]any) (rows [][2]string) {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		switch v := m[k].(type) {
		case map[string]any:
			rows = append(rows, flatten(prefix+k+" ", v)...)
		case []any, nil:
		default:
			rows = append(rows, [2]string{prefix + k, fmt.Sprint(v)})
		}
	}
	return rows
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the versions of this program and of the server",
		Args:  args(0, 0, "no arguments"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.runVersion(cmd.Context()) },
	}
}

func (a *app) runVersion(ctx context.Context) error {
	v := map[string]string{"client": a.env.Version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
	if c, _, err := a.connect(); err == nil && c.Reachable(ctx) == nil {
		if data, err := c.Status(ctx); err == nil {
			var s struct{ Version string }
			if json.Unmarshal(data, &s) == nil && s.Version != "" {
				v["server"] = s.Version
			}
		}
	}
	if a.machine() {
		return a.showValue(v)
	}
	text := fmt.Sprintf("hearth %s %s %s\n", v["client"], v["platform"], v["go"])
	if v["server"] != "" {
		text += "server " + v["server"] + "\n"
	}
	return a.data(text)
}

func (a *app) resetCommand() *cobra.Command {
	var state string
	cmd := &cobra.Command{
		Use:   "reset",
		Short: "Forget everything that is kept in the state folder",
		Long:  "Forget everything that is kept in the state folder: functions, routes, secrets, logs. The hearth that uses it must be stopped.",
		Args:  args(0, 0, "no arguments"),
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.runReset(cmd.Context(), a.stateDir(state)) },
	}
	cmd.Flags().StringVar(&state, "state", "", "the state `folder` (HEARTH_STATE; default \".hearth\")")
	return cmd
}

func (a *app) runReset(ctx context.Context, state string) error {
	full, err := filepath.Abs(state)
	if err != nil {
		return usage("cannot tell where %s is: %v", state, err)
	}
	if _, err := os.Stat(full); err != nil {
		return api.Errorf(api.CodeNotFound, "there is no state in %s", state).WithHint("--state names another folder")
	}
	if !stateLike(full) {
		return usage("%s is not a state folder of hearth", state).WithHint("it has no %s; remove it by hand if you are sure", contextFile)
	}
	if t, err := readContextFile(full); err == nil {
		if c, err := t.client(); err == nil && c.Reachable(ctx) == nil {
			return api.Errorf(api.CodeHeld, "cannot forget %s: a hearth at %s uses it", state, t.URL).WithHint("stop it first: Ctrl-C, or q, where hearth up runs")
		}
	}
	if err := a.ask("forget everything in " + full); err != nil {
		return err
	}
	if err := os.RemoveAll(full); err != nil {
		return api.Errorf(api.CodeDisk, "cannot remove %s: %w", state, err)
	}
	a.say("%s %s forgotten", a.paint.good("✓"), state)
	return nil
}

// stateLike guards reset against removing what hearth did not make.
func stateLike(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, contextFile))
	return err == nil
}
